"""A challenger no worse than the margin goes back at most as often as alpha says, at any look, however traffic, errors and users are."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator

from tests.simulation.judges import Judge, at_most, is_worse, z_test_of_worse
from tests.simulation.paths import Paths, clustered, counted_by_request, each_event, frozen_meanwhile, oscillating, people, sticky

ALPHA = 0.01
STEPS = (0.05, 0.25, 0.5)
SAMPLE, MANY, MOST, AT_ONCE = 750, 20_000, 100_000, 250
Sent = Callable[[Generator, float], list[Paths]]
"""Random numbers and a risk, to some rollouts: requests as one part, users in steps that are judged each by itself."""


def users(kind: str, weights: tuple[float, ...] = STEPS) -> Sent:
    """A thousand users, the same in each step, to which traffic is moved by force; in the end most of those who can fail have failed."""

    def sent(random: Generator, risk: float) -> list[Paths]:
        whose = people(random, AT_ONCE, 1000, kind)
        return [sticky(random, whose, weight=weight, risk=risk, share=0.05, looks=60, always=kind == "always") for weight in weights]

    return sent


SENT: dict[str, Sent] = {
    "a look at every bad request": lambda random, risk: [each_event(random, AT_ONCE, risk=risk)],
    "traffic, error rate and weight move": lambda random, risk: [oscillating(random, AT_ONCE, risk=risk)],
    "users try again in bursts": lambda random, risk: [clustered(random, AT_ONCE, risk=risk)],
    "a latency frozen on what is then judged": lambda random, risk: [frozen_meanwhile(random, AT_ONCE, risk=risk)],
    "users who are alike": users("alike"),
    "users who are not alike": users("unlike"),
    "users who always fail": users("always"),
}
every_way = pytest.mark.parametrize("sent", SENT.values(), ids=SENT.keys())
every_margin = pytest.mark.parametrize("margin", [1, 1.25])


def went_back(judge: Judge, sent: Sent, margin: float, rollouts: int) -> int:
    """Return how many of so many challengers exactly at the margin are sent back."""
    found = 0
    for seed in range(rollouts // AT_ONCE):
        parts = sent(np.random.default_rng(seed), margin)
        found += int(np.logical_or.reduce([judge(part, margin, ALPHA / len(parts)).any(axis=1) for part in parts]).sum())
    return found


def false_rollbacks_are_bounded(judge: Judge, sent: Sent, margin: float, rollouts: int) -> None:
    found = went_back(judge, sent, margin, rollouts)
    print(f"{found} of {rollouts} = {found / rollouts:.4f}, at most {at_most(found, rollouts):.4f}")  # noqa: T201
    assert found <= 2 * ALPHA * rollouts  # all that a sample can say
    assert rollouts < MANY or (found <= ALPHA * rollouts and at_most(found, rollouts) <= 1.5 * ALPHA)


@every_way
def test_false_rollbacks_are_bounded_in_a_sample(sent: Sent) -> None:
    false_rollbacks_are_bounded(is_worse, sent, 1.25, SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(300)
@every_way
def test_false_rollbacks_are_bounded(sent: Sent) -> None:
    false_rollbacks_are_bounded(is_worse, sent, 1, MANY)


@pytest.mark.full
@pytest.mark.timeout(1800)
@every_margin
@every_way
def test_false_rollbacks_are_bounded_in_a_hundred_thousand(sent: Sent, margin: float) -> None:
    false_rollbacks_are_bounded(is_worse, sent, margin, MOST)


@every_way
def test_a_judge_that_tests_at_each_look_does_not_pass(sent: Sent) -> None:
    with pytest.raises(AssertionError):
        false_rollbacks_are_bounded(z_test_of_worse, sent, 1.25, SAMPLE)


@pytest.mark.parametrize("weight", STEPS)
def test_counting_each_request_of_users_who_stay_with_an_arm_breaks_the_bound(weight: float) -> None:
    def by_request(random: Generator, risk: float) -> list[Paths]:
        return [counted_by_request(random, people(random, AT_ONCE, 1000, "always"), weight=weight, share=0.05, looks=60)]

    assert went_back(is_worse, by_request, 1.0, SAMPLE) > 5 * ALPHA * SAMPLE


def test_adding_up_the_same_users_over_steps_breaks_the_bound() -> None:
    def added_up(random: Generator, risk: float) -> list[Paths]:
        steps = users("always", (0.1, 0.2, 0.3, 0.4, 0.5))(random, risk)
        arrays = (np.hstack([step.champion for step in steps]), np.hstack([step.challenger for step in steps]))
        return [Paths(*arrays, np.hstack([step.weight for step in steps]))]

    assert went_back(is_worse, added_up, 1.0, SAMPLE) > 2.5 * ALPHA * SAMPLE
