"""Above how many seconds a latency was counted as bad: as the spec says, or as it was frozen at a look before, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from aiinfra_core.canary import judge
from aiinfra_core.canary.seeing import Seen
from aiinfra_core.domain.latency import upper_seconds
from aiinfra_core.domain.rollout import Counts, Heard, Judgement, Look, Reading, Verdict
from aiinfra_core.domain.rollout_spec import Query, RolloutSpec, SignalKind, SignalSpec, SourceKind
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.verification.latencies import frozen_after, frozen_by

BUCKETS = Query(kind=SourceKind.PROMETHEUS, buckets="slow_bucket")
ROWS = Query(kind=SourceKind.SQL, statement="SELECT 1")
COUNTS = Counts(units=10, bad=1)


def _spec(seconds: float | None = None, query: Query | None = None) -> RolloutSpec:
    signal = SignalSpec(
        name="latency", kind=SignalKind.LATENCY, alpha=0.01, seconds=seconds, query=query, source="slow" if query else "observations"
    )
    return RolloutSpec(signals=(SignalSpec(name="errors", kind=SignalKind.ERRORS, alpha=0.01), signal))


def _look(heard: Heard, seconds: float | None, verdict: Verdict = Verdict.HOLD) -> Look:
    counts = COUNTS if heard is Heard.OK else None
    latency = Reading(signal="latency", heard=heard, champion=counts, challenger=counts, seconds=seconds)
    return Look(
        number=1,
        step=0,
        weight=500,
        readings=(Reading(signal="errors", heard=Heard.OK, champion=COUNTS, challenger=COUNTS), latency),
        judged=Judgement(signals=(), sample_ratio=0, sample_ratio_at=1),
        verdict=verdict,
        reason="",
        created_at=datetime.now(UTC),
    )


def test_what_was_measured_first_is_frozen_from_then_on() -> None:
    looks = [_look(Heard.WARMING_UP, None), _look(Heard.WARMING_UP, upper_seconds(20)), _look(Heard.OK, upper_seconds(20))]
    assert frozen_by(_spec(), looks) == {"latency": upper_seconds(20)}
    assert frozen_by(_spec(), looks[:1]) == {}


def test_a_look_that_changes_traffic_freezes_nothing() -> None:
    assert frozen_by(_spec(), [_look(Heard.WARMING_UP, 0.2, Verdict.ADVANCE)]) == {}


def test_a_reading_the_judge_does_not_believe_counts_above_nothing() -> None:
    spec, began, looks = _spec(0.2, ROWS), datetime.now(UTC), list[Look]()
    for number, (units, bad) in enumerate([(950, 50), (0, 0), (900, 48)], start=1):
        counts, at = Counts(units=units, bad=bad), began + timedelta(minutes=number)
        heard = (
            Reading(signal="latency", heard=Heard.OK, champion=counts, challenger=counts, seconds=0.2)
            if units
            else Reading(signal="latency", heard=Heard.UNREACHABLE, reason="away")
        )
        seen = Seen(number, 0, at, began, began, began, paused=False)
        looks.append(judge(spec, seen, looks[-1] if looks else None, [heard]))
    assert [look.readings[1].heard for look in looks] == [Heard.OK, Heard.UNREACHABLE, Heard.DECREASING]
    assert frozen_by(spec, looks) == {}


FROZEN = {"latency": upper_seconds(20)}


@pytest.mark.parametrize(
    ("spec", "frozen", "look"),
    [
        (_spec(), FROZEN, _look(Heard.OK, upper_seconds(20))),
        (_spec(), FROZEN, _look(Heard.OK, upper_seconds(20) * (1 + 1e-9))),
        (_spec(), FROZEN, _look(Heard.NO_DATA, None)),
        (_spec(0.25), {}, _look(Heard.OK, upper_seconds(58))),  # the bin that 0.25 s is in ends there
        (_spec(0.25, ROWS), {}, _look(Heard.OK, 0.25)),
        (_spec(0.25, BUCKETS), {}, _look(Heard.OK, 0.25)),
        (_spec(None, BUCKETS), {"latency": 0.25}, _look(Heard.OK, 0.5)),
    ],
)
def test_a_latency_counted_above_what_is_bad_is_as_it_should_be(spec: RolloutSpec, frozen: dict[str, float], look: Look) -> None:
    assert frozen_after(spec, frozen, look) == frozen


@pytest.mark.parametrize(
    ("spec", "frozen", "look"),
    [
        (_spec(), {}, _look(Heard.OK, upper_seconds(20))),
        (_spec(), FROZEN, _look(Heard.OK, upper_seconds(21))),
        (_spec(), FROZEN, _look(Heard.OK, None)),
        (_spec(), FROZEN, _look(Heard.WARMING_UP, upper_seconds(30))),
        (_spec(), {}, _look(Heard.NO_DATA, upper_seconds(30))),
        (_spec(0.25), {}, _look(Heard.OK, upper_seconds(59))),
        (_spec(0.25), {}, _look(Heard.WARMING_UP, None)),
        (_spec(0.25, ROWS), {}, _look(Heard.OK, 0.5)),
        (_spec(None, BUCKETS), {"latency": 0.25}, _look(Heard.OK, 0.1)),
        (_spec(None, BUCKETS), {}, _look(Heard.OK, 0.1)),
    ],
)
def test_a_latency_counted_above_other_seconds_is_found(spec: RolloutSpec, frozen: dict[str, float], look: Look) -> None:
    with pytest.raises(EvidenceBroken, match=r"look 1 has .* as the seconds of latency, where "):
        frozen_after(spec, frozen, look)
