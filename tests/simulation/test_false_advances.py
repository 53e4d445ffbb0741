"""A challenger that is 1.5 times the margin worse, or more, gets all traffic at most as often as alpha says."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator

from tests.simulation.judges import Judge, at_most, is_as_good, z_test_of_as_good
from tests.simulation.paths import Paths, clustered, each_event, oscillating, people, steady, sticky

ALPHA, MARGIN = 0.01, 1.25
BOUND = 1.5 * MARGIN
SAMPLE, MANY, MOST, AT_ONCE = 750, 20_000, 100_000, 250
Sent = Callable[[Generator], list[Paths]]
"""Random numbers, to the steps of some rollouts."""


def minutes(random: Generator) -> list[Paths]:
    """Four hours in each of three steps, a look a minute, six bad requests a minute."""
    return [steady(random, AT_ONCE, looks=240, bad_per_look=6, weight=weight, risk=BOUND) for weight in (0.05, 0.25, 0.5)]


def users_alike(random: Generator) -> list[Paths]:
    """Users who come equally often and fail alike, until most of them have failed."""
    whose = people(random, AT_ONCE, 1000, "alike")
    whose.visits[:] = 0.1
    return [sticky(random, whose, weight=0.25, risk=BOUND, share=0.2, looks=60)]


def users_unlike(random: Generator) -> list[Paths]:
    """Users who come and fail very unlike each other: the same ones soon, so 4.6 times the failing requests are 1.9 times the users."""
    return [sticky(random, people(random, AT_ONCE, 1000, "unlike"), weight=0.25, risk=4.6, share=0.05, looks=120)]


SENT: dict[str, Sent] = {
    "a look at every bad request": lambda random: [each_event(random, AT_ONCE, risk=BOUND)],
    "traffic, error rate and weight move": lambda random: [oscillating(random, AT_ONCE, risk=BOUND)],
    "users try again in bursts": lambda random: [clustered(random, AT_ONCE, risk=BOUND)],
    "users who are alike": users_alike,
    "users who are not alike": users_unlike,
    "a look a minute, three steps": minutes,
}
every_way = pytest.mark.parametrize("sent", SENT.values(), ids=SENT.keys())


def got_all(judge: Judge, sent: Sent, rollouts: int) -> int:
    """Return how many of so many challengers go on in each of their steps."""
    found = 0
    for seed in range(rollouts // AT_ONCE):
        found += int(np.logical_and.reduce([judge(step, MARGIN, ALPHA).any(axis=1) for step in sent(np.random.default_rng(seed))]).sum())
    return found


def false_advances_are_bounded(judge: Judge, sent: Sent, rollouts: int) -> None:
    found = got_all(judge, sent, rollouts)
    print(f"{found} of {rollouts} = {found / rollouts:.4f}, at most {at_most(found, rollouts):.4f}")  # noqa: T201
    assert found <= 2 * ALPHA * rollouts  # all that a sample can say
    assert rollouts < MANY or (found <= ALPHA * rollouts and at_most(found, rollouts) <= 1.5 * ALPHA)


@every_way
def test_false_advances_are_bounded_in_a_sample(sent: Sent) -> None:
    false_advances_are_bounded(is_as_good, sent, SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(300)
@every_way
def test_false_advances_are_bounded(sent: Sent) -> None:
    false_advances_are_bounded(is_as_good, sent, MANY)


@pytest.mark.full
@pytest.mark.timeout(1800)
@every_way
def test_false_advances_are_bounded_in_a_hundred_thousand(sent: Sent) -> None:
    false_advances_are_bounded(is_as_good, sent, MOST)


@pytest.mark.parametrize("name", [name for name in SENT if name not in ("a look a minute, three steps", "users who are not alike")])
def test_a_judge_that_tests_at_each_look_does_not_pass(name: str) -> None:
    with pytest.raises(AssertionError):
        false_advances_are_bounded(z_test_of_as_good, SENT[name], SAMPLE)


def test_of_users_as_many_are_ever_bad_as_the_bound_says() -> None:
    step = users_unlike(np.random.default_rng(3))[0]
    assert 3 * step.challenger.sum() / step.champion.sum() == pytest.approx(BOUND, rel=0.03)


def test_a_challenger_as_good_as_the_champion_goes_on() -> None:
    steps = [steady(np.random.default_rng(2), 1000, looks=240, bad_per_look=6, weight=weight, risk=1) for weight in (0.05, 0.25, 0.5)]
    assert np.logical_and.reduce([is_as_good(step, MARGIN, ALPHA).any(axis=1) for step in steps]).mean() > 0.97
