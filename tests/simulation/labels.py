"""Seeded labels of many rollouts at once: answers that become known to be right or wrong late, and unevenly per arm.

Of an arm a share of the answers is labelled, each after a delay of its own. Answers are Poisson, so the labels of each look are too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from tests.simulation.paths import Array, Paths, People, by_look

Arms = tuple[float, float]
"""Of the champion, and of the challenger."""


@dataclass(frozen=True, slots=True)
class Labels:
    """How many answers of champion and challenger were labelled at each look, and how many of these were wrong."""

    labelled: tuple[Array, Array]
    wrong: tuple[Array, Array]


def labels(
    random: Generator, answers: Array, wrong: Array, *, shares: tuple[Array | float, Array | float], delays: Arms = (0, 0), risk: float
) -> Labels:
    """Label such shares of each arm's answers after such mean delays, in looks; the challenger's are wrong `risk` times as often.

    `answers` are those of each arm to expect at each look, `wrong` the champion's share of wrong ones among them.
    """
    come = [_later(one * share, delay) for one, share, delay in zip(answers, shares, delays, strict=True)]
    bad = [_later(one * share * wrong * by, delay) for one, share, delay, by in zip(answers, shares, delays, (1, risk), strict=True)]
    known = [random.poisson(one) for one in come]
    false = [random.binomial(count, part / np.maximum(one, 1e-300)) for count, part, one in zip(known, bad, come, strict=True)]
    return Labels((known[0], known[1]), (false[0], false[1]))


def answered(paths: int, looks: int, *, weight: float = 0.25, per_look: float = 600) -> Array:
    """Return the answers of each arm to expect at each look."""
    return np.array([np.full((paths, looks), per_look * share) for share in (1 - weight, weight)])


def moving(random: Generator, paths: int, looks: int, *, weight: float = 0.25, per_look: float = 600) -> tuple[Array, Array]:
    """Return the same of traffic that comes and goes, and the champion's share of wrong answers, 1 to 9 % in waves."""
    at, phase = np.arange(looks), random.random((paths, 2, 1)) * 2 * np.pi
    answers = per_look * (1 + np.sin(at / 25 + phase[:, 0])) / 2
    return np.array([answers * (1 - weight), answers * weight]), 0.05 + 0.04 * np.sin(at / 40 + phase[:, 1])


def first_labels(
    random: Generator, whose: People, *, weight: float, risk: float, share: float, shares: tuple[float, float], looks: int
) -> Labels:
    """Of such shares of each arm's requests the answer is labelled; a user counts by the first one, the champion's `share` wrong."""
    mine = whose.place < weight
    first = random.exponential(1 / (whose.visits * np.where(mine, shares[1], shares[0])))
    false = random.random(first.shape) < 2 * share * whose.prone * np.where(mine, risk, 1)
    known, wrong = (
        [np.diff(by_look(when, arm, looks), axis=1, prepend=0) for arm in (~mine, mine)] for when in (first, np.where(false, first, np.inf))
    )
    return Labels((known[0], known[1]), (wrong[0], wrong[1]))


def as_labelled(told: Labels) -> Paths:
    """Wrong answers at the share of the labels that came since they were counted last; those of one arm wait for the other's."""
    shape = told.wrong[0].shape
    waiting = np.zeros((2, 2, shape[0]), int)
    counted, share = np.zeros((2, *shape), int), np.zeros(shape)
    for look in range(shape[1]):
        waiting += np.array([[one[:, look] for one in both] for both in (told.labelled, told.wrong)])
        both = (waiting[0] > 0).all(axis=0)
        counted[:, :, look] = np.where(both, waiting[1], 0)
        share[:, look] = np.where(both, waiting[0, 1] / np.maximum(waiting[0].sum(axis=0), 1), 0)
        waiting = np.where(both, 0, waiting)
    return Paths(counted[0], counted[1], share)


def as_sent(told: Labels, weight: float = 0.25) -> Paths:
    """A mutant: wrong answers at the share of the traffic, as if as much of each arm were labelled."""
    return Paths(*told.wrong, np.full((1, told.wrong[0].shape[1]), weight))


def _later(rate: Array, delay: float) -> Array:
    """Return when what comes at such rates is labelled, each after a delay that is geometric with this mean."""
    if not delay:
        return rate
    come, waiting = np.empty_like(rate), np.zeros(len(rate))
    for look in range(rate.shape[1]):
        waiting = waiting + rate[:, look]
        come[:, look] = waiting / (1 + delay)
        waiting = waiting - come[:, look]
    return come
