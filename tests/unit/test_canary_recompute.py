"""Every look can be judged once more from what was read; one that was changed afterwards is found, and so is one that is missing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import canary
from aiinfra_core.domain.rollout import Action, Counts, Heard, Look, Reading, Rollout, RolloutOrder, RolloutStatus, Verdict
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.errors import EvidenceBroken
from tests.simulators.canary_looks import BEGAN, ERRORS, LATENCY, heard, looked, silent, spec_of

SPEC = spec_of(ERRORS, LATENCY, bake_minutes=2)
Told = list[tuple[canary.Seen, Look]]


def minute(number: int, bad: int = 10, units: int = 1000, share: float = 0.1) -> list[Reading]:
    """Return the readings of the minute of a step in which a challenger is as good as the champion."""
    mine, theirs = int(number * share * units), int(number * (1 - share) * units)
    return [heard((theirs * bad // 1000, theirs), (mine * bad // 1000, mine), signal) for signal in ("errors", "latency")]


def a_story() -> Told:
    """Return a rollout that goes on once, is silent once, has counts that go down, and is sent back in its second step."""
    first = [minute(1), [silent(Heard.UNREACHABLE), minute(2)[1]], minute(3), minute(50)]
    second = [minute(2, share=0.5), minute(1, share=0.5), [heard((30, 5000), (600, 5000))]]
    told = looked(SPEC, first + second)
    assert [look.verdict for _, look in told] == ["hold", "hold", "hold", "advance", "hold", "hold", "rollback"]
    return told


STORY = a_story()


def test_looks_as_they_were_made_are_as_they_are_judged_again() -> None:
    kept = [(seen, Look.model_validate_json(look.model_dump_json(by_alias=True))) for seen, look in STORY]
    assert canary.recompute(SPEC, kept) == []


def changed(look: Look, **changes: Any) -> Look:
    return look.model_copy(update=changes)


def numbers(look: Look, **changes: Any) -> Look:
    judged = look.judged.signals[0].model_copy(update=changes)
    return changed(look, judged=look.judged.model_copy(update={"signals": (judged, *look.judged.signals[1:])}))


def counts(look: Look) -> Look:
    other = look.readings[0].model_copy(update={"challenger": Counts(units=100, bad=3)})
    return changed(look, readings=(other, *look.readings[1:]))


LIES: dict[str, Callable[[Look], Look]] = {
    "another verdict": lambda look: changed(look, verdict=Verdict.ADVANCE),
    "other counts": counts,
    "other evidence to go back": lambda look: numbers(look, rollback=look.judged.signals[0].rollback + 0.001),
    "another limit": lambda look: numbers(look, rollback_at=9.0),
    "other evidence to go on": lambda look: numbers(look, advance=9.0),
    "other ratios": lambda look: numbers(look, ratios=(0.0,) * 5),
    "a ratio less": lambda look: numbers(look, ratios=(0.0,) * 4),
    "other counts of the judge": lambda look: numbers(look, champion=None),
    "a signal less": lambda look: changed(look, judged=look.judged.model_copy(update={"signals": look.judged.signals[:1]})),
    "another split": lambda look: changed(look, judged=look.judged.model_copy(update={"sample_ratio": 0.0})),
    "another step": lambda look: changed(look, step=1),
    "another weight": lambda look: changed(look, weight=5000),
    "another number": lambda look: changed(look, number=9),
    "another time": lambda look: changed(look, created_at=look.created_at + timedelta(seconds=1)),
    "a reading less": lambda look: changed(look, readings=look.readings[:1]),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_look_that_was_changed_is_found(lie: Callable[[Look], Look]) -> None:
    told = [*STORY[:2], (STORY[2][0], lie(STORY[2][1])), *STORY[3:]]
    assert canary.recompute(SPEC, told)[0].startswith("look 3: ")


def test_counts_beside_a_signal_that_was_silent_are_found() -> None:
    told = [*STORY[:1], (STORY[1][0], counts(STORY[1][1])), *STORY[2:]]
    assert canary.recompute(SPEC, told) == ["look 2: it differs in its readings from what came before it"]


@pytest.mark.parametrize("missing", [0, 1, 5])
def test_a_look_that_is_missing_is_found(missing: int) -> None:
    assert canary.recompute(SPEC, STORY[:missing] + STORY[missing + 1 :])


def test_other_words_for_the_same_verdict_are_no_lie() -> None:
    assert canary.recompute(SPEC, [(seen, changed(look, reason="because")) for seen, look in STORY]) == []


def test_another_spec_is_found() -> None:
    assert canary.recompute(spec_of(ERRORS, LATENCY, bake_minutes=2, margin=1.5), STORY)


def test_a_look_at_a_step_without_looks_is_said_to_be_one() -> None:
    seen, look = STORY[0]
    beyond = [(canary.Seen(1, 2, seen.at, BEGAN, BEGAN, BEGAN, False), look)]
    assert canary.recompute(SPEC, beyond) == ["look 1 is at step 2, which is none a look is made at"]


def rollout(**changes: Any) -> Rollout:
    own = dict.fromkeys(("created_at", "step_started_at", "heard_at", "updated_at"), BEGAN)
    ids = {"id": UUID(int=1), "promotion_id": UUID(int=2), "champion": UUID(int=3)}
    rest = {"salt": "saltsalt", "status": RolloutStatus.RUNNING, "step": 0, "weight": 1000, "looks": 0, "sequence": 1}
    none = dict.fromkeys(("frozen", "reason", "looked_at", "ended_at"))
    plain = {"environment": "prod", "model": "rainfall", "spec": SPEC, "spec_digest": SPEC.digest()}
    return Rollout.model_validate({**own, **ids, **rest, **none, **plain, **changes})


def ordered(action: Action, minute: float, step: int = 0) -> RolloutOrder:
    at = BEGAN + timedelta(minutes=minute)
    said = {"reason": "so", "request_id": f"r{minute}", "ordered_by": "olga", "attestation": "a" * 64, "step": step}
    return RolloutOrder.model_validate({"id": UUID(int=9), "rollout_id": UUID(int=1), "action": action, "created_at": at, **said})


def test_what_each_look_was_told_follows_from_the_looks_before_it() -> None:
    assert list(canary.story(rollout(), [look for _, look in STORY])) == STORY


def test_it_follows_from_what_was_ordered_too() -> None:
    given = [ordered(Action.RESUME, 2.5), ordered(Action.PAUSE, 1.5), ordered(Action.ADVANCE, 3.5), ordered(Action.ABORT, 4.5, 1)]
    looks = [look for _, look in looked(SPEC, [minute(n) for n in range(1, 5)])]
    told = [seen for seen, _ in canary.story(rollout(), looks, given)]
    assert [(seen.number, seen.step, seen.paused) for seen in told] == [(1, 0, False), (2, 0, True), (3, 0, False), (4, 1, False)]
    assert told[-1].step_started_at == BEGAN + timedelta(minutes=3.5)


@pytest.mark.parametrize(("first", "second"), [((1.5, 1), (3.5, 1)), ((1.5, 0), (3.5, 0)), ((1.5, 0), (9.5, 2))])
def test_an_order_about_another_step_than_it_was_at_is_found(first: tuple[float, int], second: tuple[float, int]) -> None:
    looks = [look for _, look in looked(SPEC, [minute(n) for n in range(1, 5)])]
    with pytest.raises(EvidenceBroken, match="an order to advance it is about step"):
        list(canary.story(rollout(), looks, [ordered(Action.ADVANCE, *first), ordered(Action.ADVANCE, *second)]))


def test_the_next_look_is_told_how_its_rollout_stands() -> None:
    standing = rollout(status=RolloutStatus.PAUSED, looks=7, step=1, heard_at=BEGAN + timedelta(minutes=3))
    seen = canary.seen(standing, BEGAN + timedelta(minutes=4))
    assert seen == canary.Seen(8, 1, BEGAN + timedelta(minutes=4), BEGAN, BEGAN, BEGAN + timedelta(minutes=3), True)


some = st.integers(0, 2000)
readings = st.builds(heard, st.tuples(some, some), st.tuples(some, some)) | st.sampled_from(Heard).map(silent)


@given(st.lists(st.lists(readings, max_size=1), max_size=12), st.sampled_from(Unit))
def test_whatever_is_read_there_is_a_look_that_can_be_judged_again(minutes: list[list[Reading]], unit: Unit) -> None:
    spec = spec_of(unit=unit, weights=(10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95, 98, 99, 100), bake_minutes=0)
    told = looked(spec, minutes)
    assert canary.recompute(spec, told) == []
    assert all(look.reason for _, look in told)
