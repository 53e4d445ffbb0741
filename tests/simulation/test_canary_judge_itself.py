"""The judge of these simulations is `canary.judge`: on the same counts both have the same evidence, at every look, and say the same."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from aiinfra_core import canary
from aiinfra_core.domain.rollout import Counts, Look, Reading, Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec, Unit
from tests.simulation.judges import as_good_evidence, worse_evidence
from tests.simulation.paths import Paths, clustered, each_event, oscillating, people, steady, sticky

ALPHA, MARGIN, LOOKS = 0.004, 1.25, 200
BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
SPEC = RolloutSpec(
    weights=(5, 10, 25, 50, 100),
    signals=(SignalSpec(name="errors", kind="errors", alpha=ALPHA),),
    margin=MARGIN,
    kill_share=1,
    bake_minutes=10_000,
    deadline_hours=2000,
)


def users() -> Paths:
    random = np.random.default_rng(4)
    return sticky(random, people(random, 5, 2000, "alike"), weight=0.25, risk=3, share=0.1, looks=LOOKS)


REQUESTS = {
    "a bad challenger": steady(np.random.default_rng(1), 5, looks=LOOKS, bad_per_look=6, weight=0.1, risk=3),
    "a good one": steady(np.random.default_rng(2), 5, looks=LOOKS, bad_per_look=6, weight=0.1, risk=1),
    "every event": each_event(np.random.default_rng(3), 5, risk=4, events=LOOKS),
    "weights that rise": oscillating(np.random.default_rng(5), 5, risk=8, seconds=LOOKS),
    "bursts": clustered(np.random.default_rng(6), 5, risk=2, looks=LOOKS),
}


def judged(spec: RolloutSpec, readings: Iterator[tuple[int, Reading]]) -> Iterator[Look]:
    seen, previous = canary.Seen(0, 0, BEGAN, BEGAN, BEGAN, BEGAN, False), None
    for step, reading in readings:
        seen = replace(seen, number=seen.number + 1, step=step, at=seen.at + timedelta(minutes=1))
        previous = canary.judge(spec, seen, previous, [reading])
        yield previous
        seen = replace(seen, heard_at=seen.at)


def readings_of(paths: Paths, path: int) -> Iterator[tuple[int, Reading]]:
    """Yield the counts of a path, from 0 in each step, with units split as they should be or as they were."""
    steps = np.searchsorted(np.array(SPEC.steps), np.rint(paths.weight * 10_000)) if paths.at_risk is None else np.full((1, LOOKS), 2)
    steps = np.broadcast_to(steps, paths.champion.shape)[path]
    for look, step in enumerate(steps):
        begun = int(np.argmax(steps == step))
        bad = [int(arm[path, begun : look + 1].sum()) for arm in (paths.champion, paths.challenger)]
        units = [10_000 * (look + 1 - begun) * share // 10_000 for share in (10_000 - SPEC.steps[step], SPEC.steps[step])]
        if paths.at_risk:  # those who are not bad yet, and those who were before this look
            units = [
                int(arm[path, look] + of - new[path, look])
                for arm, of, new in zip(paths.at_risk, bad, (paths.champion, paths.challenger), strict=True)
            ]
        champion, challenger = (Counts(units=of, bad=which) for of, which in zip(units, bad, strict=True))
        yield int(step), Reading(signal="errors", heard="ok", champion=champion, challenger=challenger)


def agrees(spec: RolloutSpec, paths: Paths, limit: float) -> set[Verdict]:
    said = set()
    evidence = worse_evidence(paths, MARGIN)
    for path in range(len(paths.champion)):
        looks = list(judged(spec, readings_of(paths, path)))
        assert [look.judged.signals[0].rollback for look in looks] == pytest.approx(evidence[path])
        assert [look.verdict is Verdict.ROLLBACK for look in looks] == list(evidence[path] >= limit)
        said |= {look.verdict for look in looks}
    return said


@pytest.mark.parametrize("name", REQUESTS)
def test_of_requests(name: str) -> None:
    said = agrees(SPEC, REQUESTS[name], np.log(1 / ALPHA))
    assert Verdict.ROLLBACK in said or name == "a good one"


def test_of_users() -> None:
    assert Verdict.ROLLBACK in agrees(SPEC.model_copy(update={"unit": Unit.USER}), users(), np.log(4 / ALPHA))


def test_the_evidence_to_go_on_is_the_same_within_a_step() -> None:
    paths = REQUESTS["a good one"]
    for path, evidence in enumerate(as_good_evidence(paths, MARGIN)):
        looks = judged(SPEC, readings_of(paths, path))
        assert [look.judged.signals[0].advance for look in looks] == pytest.approx(evidence)
