"""Answers that are labelled late, and unevenly per arm: no more are sent back, and no more go on, than alpha says."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.random import Generator

from aiinfra_core.domain.rollout import Counts, Reading
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec
from tests.simulation.judges import as_good_evidence, at_most, is_as_good, is_worse, worse_evidence
from tests.simulation.labels import Arms, Labels, answered, as_labelled, as_sent, first_labels, labels, moving
from tests.simulation.paths import Paths, people
from tests.simulators.canary_looks import looked

ALPHA, MARGIN, LOOKS = 0.01, 1.25, 240
BOUND = 1.5 * MARGIN
SAMPLE, MANY, MOST, AT_ONCE = 750, 20_000, 100_000, 250
Sent = Callable[[Generator, float], Labels]
"""Random numbers and how many times as often the challenger's answers are wrong, to the labels of some rollouts."""


def steady(shares: Arms, delays: Arms = (0, 0), looks: int = LOOKS, per_look: float = 600) -> Sent:
    """A quarter of the traffic goes to the challenger; one in twenty of the champion's answers is wrong."""

    def sent(random: Generator, risk: float) -> Labels:
        wrong = np.full((AT_ONCE, looks), 0.05)
        return labels(random, answered(AT_ONCE, looks, per_look=per_look), wrong, shares=shares, delays=delays, risk=risk)

    return sent


def moved(shares: Arms, delays: Arms = (0, 0)) -> Sent:
    """The same while traffic, and the champion's share of wrong answers, come and go."""
    return lambda random, risk: labels(random, *moving(random, AT_ONCE, LOOKS), shares=shares, delays=delays, risk=risk)


def erratic(random: Generator, risk: float) -> Labels:
    """Of each arm another share is labelled at each look."""
    shares = random.beta(0.5, 2, (2, AT_ONCE, LOOKS))
    return labels(random, *moving(random, AT_ONCE, LOOKS), shares=(shares[0], shares[1]), risk=risk)


def users(random: Generator, risk: float) -> Labels:
    """Users unlike each other, each of whom counts by the first label, which come more often in one arm."""
    return first_labels(random, people(random, AT_ONCE, 1000, "always"), weight=0.25, risk=risk, share=0.2, shares=(0.5, 0.2), looks=60)


UNEVEN: dict[str, Sent] = {
    "champion 50 %, challenger 20 %": steady((0.5, 0.2)),
    "champion 20 %, challenger 40 %": steady((0.2, 0.4)),
}
SENT: dict[str, Sent] = UNEVEN | {
    "one or no label of the challenger at a look": steady((0.5, 0.2), looks=2000, per_look=6),
    "other shares at each look": erratic,
    "late in both alike, traffic and errors move": moved((0.5, 0.2), (30, 30)),
    "later in one": steady((0.5, 0.2), (5, 40)),
    "users by their first label": users,
}
every_way = pytest.mark.parametrize("sent", SENT.values(), ids=SENT.keys())
both_uneven = pytest.mark.parametrize("sent", UNEVEN.values(), ids=UNEVEN.keys())


def went_back(sent: Sent, rollouts: int, risk: float = MARGIN, told: Callable[[Labels], Paths] = as_labelled) -> int:
    """Return how many of so many challengers are sent back."""
    seeds = (np.random.default_rng(seed) for seed in range(rollouts // AT_ONCE))
    return sum(int(is_worse(told(sent(random, risk)), MARGIN, ALPHA).any(axis=1).sum()) for random in seeds)


def went_on(sent: Sent, rollouts: int, risk: float = BOUND, told: Callable[[Labels], Paths] = as_labelled) -> int:
    """Return how many of so many challengers go on."""
    seeds = (np.random.default_rng(seed) for seed in range(rollouts // AT_ONCE))
    return sum(int(is_as_good(told(sent(random, risk)), MARGIN, ALPHA).any(axis=1).sum()) for random in seeds)


def is_bounded(found: int, rollouts: int) -> None:
    print(f"{found} of {rollouts} = {found / rollouts:.4f}, at most {at_most(found, rollouts):.4f}")  # noqa: T201
    assert found <= 2 * ALPHA * rollouts  # all that a sample can say
    assert rollouts < MANY or (found <= ALPHA * rollouts and at_most(found, rollouts) <= 1.5 * ALPHA)


@every_way
def test_false_rollbacks_and_advances_are_bounded_in_a_sample(sent: Sent) -> None:
    is_bounded(went_back(sent, SAMPLE), SAMPLE)
    is_bounded(went_on(sent, SAMPLE), SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(300)
@every_way
@pytest.mark.parametrize("went", [went_back, went_on])
def test_false_rollbacks_and_advances_are_bounded(sent: Sent, went: Callable[[Sent, int], int]) -> None:
    is_bounded(went(sent, MANY), MANY)


@pytest.mark.full
@pytest.mark.timeout(1800)
@every_way
@pytest.mark.parametrize("went", [went_back, went_on])
def test_false_rollbacks_and_advances_are_bounded_in_a_hundred_thousand(sent: Sent, went: Callable[[Sent, int], int]) -> None:
    is_bounded(went(sent, MOST), MOST)


@both_uneven
def test_a_judge_that_takes_labels_to_come_as_traffic_is_split_does_not_pass(sent: Sent) -> None:
    assert max(went_back(sent, AT_ONCE, told=as_sent), went_on(sent, AT_ONCE, told=as_sent)) > 0.9 * AT_ONCE


@both_uneven
def test_what_is_twice_as_wrong_goes_back_and_what_is_as_right_goes_on(sent: Sent) -> None:
    assert went_back(sent, AT_ONCE, 2) > 0.98 * AT_ONCE
    assert went_on(sent, AT_ONCE, 1) > 0.98 * AT_ONCE


def test_labels_that_wait_for_those_of_the_other_arm_are_most_of_the_evidence_where_there_are_few() -> None:
    def by_look(told: Labels) -> Paths:
        return Paths(*told.wrong, told.labelled[1] / np.maximum(told.labelled[0] + told.labelled[1], 1))

    few = SENT["one or no label of the challenger at a look"]
    assert went_on(few, AT_ONCE, 1) > 1.3 * went_on(few, AT_ONCE, 1, by_look)


def test_labels_that_come_later_in_one_arm_break_both_bounds_where_errors_move() -> None:
    unlike = moved((0.5, 0.5), (5, 40))
    assert min(went_back(unlike, SAMPLE), went_on(unlike, SAMPLE)) > 5 * ALPHA * SAMPLE


def test_they_do_not_where_answers_are_counted_once_they_have_an_age() -> None:
    looks, delays = 60, (5, 40)
    known = tuple(0.5 * (1 - (delay / (1 + delay)) ** looks) for delay in delays)
    is_bounded(went_back(moved((known[0], known[1])), SAMPLE), SAMPLE)
    is_bounded(went_on(moved((known[0], known[1])), SAMPLE), SAMPLE)


def readings_of(told: Labels, path: int) -> Iterator[list[Reading]]:
    """Yield the counts of a path, from the start on."""
    columns = [np.cumsum(one[path]).tolist() for one in (*told.labelled, *told.wrong)]
    for champions, challengers, false, falser in zip(*columns, strict=True):
        arms = Counts(units=champions, bad=false), Counts(units=challengers, bad=falser)
        yield [Reading(signal="wrong", heard="ok", champion=arms[0], challenger=arms[1])]


def small(random: Generator, shares: Arms) -> Labels:
    return labels(random, answered(5, 120, per_look=40), np.full((5, 120), 0.2), shares=shares, risk=1.5)


@pytest.mark.parametrize("shares", [(0.5, 0.2), (0.02, 0.1)])
def test_these_are_the_numbers_of_the_judge(shares: Arms) -> None:
    signal = SignalSpec(name="wrong", kind="quality", alpha=0.003)
    spec = RolloutSpec(weights=(25, 100), signals=(signal,), margin=MARGIN, bake_minutes=10_000, deadline_hours=2000)
    told = small(np.random.default_rng(1), shares)
    paths = as_labelled(told)
    worse, as_good = worse_evidence(paths, MARGIN), as_good_evidence(paths, MARGIN)
    for path in range(5):
        judged = [look.judged.signals[0] for _, look in looked(spec, readings_of(told, path))]
        assert [one.rollback for one in judged] == pytest.approx(worse[path])
        assert [one.advance for one in judged] == pytest.approx(as_good[path])
