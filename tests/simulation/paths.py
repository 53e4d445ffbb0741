"""Seeded rollouts, many at once: how many bad units each arm had at each look, by what is true of the challenger.

An array has a row for each rollout and a column for each look. Numbers of requests are Poisson, so that those of each arm, and the bad
ones of each, are independent Poisson numbers too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

Array = Any


@dataclass(frozen=True, slots=True)
class Paths:
    """New bad units of each arm at each look, and the challenger's share of those that were at risk of it."""

    champion: Array
    challenger: Array
    weight: Array
    at_risk: tuple[Array, Array] | None = None


def steady(random: Generator, paths: int, *, looks: int, bad_per_look: float, weight: float, risk: float) -> Paths:
    """Requests that come and fail at a steady rate, the challenger's `risk` times as often."""
    champion = random.poisson(bad_per_look * (1 - weight), (paths, looks))
    challenger = random.poisson(bad_per_look * weight * risk, (paths, looks))
    return Paths(champion, challenger, np.full((1, looks), weight))


def each_event(random: Generator, paths: int, *, risk: float, events: int = 1500, weight: float = 0.1) -> Paths:
    """A look at every bad request."""
    on_challenger = random.random((paths, events)) < weight * risk / (weight * risk + 1 - weight)
    return Paths((~on_challenger).astype(int), on_challenger.astype(int), np.full((1, events), weight))


def oscillating(random: Generator, paths: int, *, risk: float, seconds: int = 1500) -> Paths:
    """Looked at every second: traffic of 0 to 20/s and an error rate of 0.1 to 8 % that come and go, and weights raised at any time."""
    at = np.arange(seconds)
    phase = random.random((paths, 2, 1)) * 2 * np.pi
    traffic = 10 + 10 * np.sin(at / 90 + phase[:, 0])
    bad = traffic * (0.001 + 0.079 * np.sin(at / 140 + phase[:, 1]) ** 8)
    raised = np.sort(random.integers(0, seconds, (paths, 2, 1)), axis=1)
    weight = np.array([0.05, 0.25, 0.5])[(at >= raised[:, 0]).astype(int) + (at >= raised[:, 1])]
    return Paths(random.poisson(bad * (1 - weight)), random.poisson(bad * weight * risk), weight)


def clustered(random: Generator, paths: int, *, risk: float, looks: int = 240, weight: float = 0.1) -> Paths:
    """Users whose every request fails and who try again and again, in bursts; each request is routed by itself."""
    bursts = random.poisson(0.5, (paths, looks)) * random.geometric(0.1, (paths, looks))
    challenger = random.binomial(bursts, weight * risk / (weight * risk + 1 - weight))
    return Paths(bursts - challenger, challenger, np.full((1, looks), weight))


def frozen_meanwhile(random: Generator, paths: int, *, risk: float, looks: int = 60, weight: float = 0.1, seen: int = 200) -> Paths:
    """Latencies above what 19 of 20 of the first 200 of the champion's took; those first ones, by which it was frozen, count as well."""
    slow, others = seen // 20, int(seen * weight / (1 - weight))
    share = random.beta(slow + 1, seen - slow, (paths, 1))
    champion = np.hstack([np.full((paths, 1), slow), random.poisson(600 * (1 - weight) * share, (paths, looks))])
    worse = np.minimum(share * risk, 1)
    challenger = np.hstack([random.binomial(others, worse), random.poisson(600 * weight * worse, (paths, looks))])
    return Paths(champion, challenger, np.full((1, looks + 1), weight))


@dataclass(frozen=True, slots=True)
class People:
    """The users of many rollouts: where each falls between the arms, how often one comes (per look), and how prone one is to fail."""

    place: Array
    visits: Array
    prone: Array


def people(random: Generator, paths: int, users: int, kind: str) -> People:
    """Users who come at very different rates; `alike` in how they fail, `unlike`, or `always` failing if at all."""
    size = (paths, users)
    place, visits = random.random(size), random.lognormal(-3, 1, size)
    if kind == "alike":
        return People(place, visits, np.ones(size))
    return People(place, visits, random.gamma(0.2, 5, size) if kind == "unlike" else random.random(size))


def sticky(random: Generator, whose: People, *, weight: float, risk: float, share: float, looks: int, always: bool = False) -> Paths:
    """A step in which users are counted once: of a request the champion's `share` fails, or of users who always fail.

    The same users come again in the next step. Those who come often are seen, and are bad, first: the rest saturates.
    """
    mine = whose.place < weight
    first = random.exponential(1 / whose.visits)
    fails = share * np.where(mine, risk, 1)
    if always:
        failed = np.where(whose.prone < fails, first, np.inf)
    else:
        failed = first + random.exponential(1 / (whose.visits * whose.prone * fails + 1e-12))
    seen = [by_look(first, arm, looks) for arm in (~mine, mine)]
    new = [np.diff(by_look(failed, arm, looks), axis=1, prepend=0) for arm in (~mine, mine)]
    champion, challenger = (counted - np.cumsum(bad, axis=1) + bad for counted, bad in zip(seen, new, strict=True))
    weights = challenger / np.maximum(champion + challenger, 1)
    return Paths(new[0], new[1], weights, (champion, challenger))


def counted_by_request(random: Generator, whose: People, *, weight: float, share: float, looks: int) -> Paths:
    """The mistake: each request of users who always fail is counted, though all of one go the same way."""
    rates = (whose.visits * (whose.prone < share))[:, :, None]
    arms = [(rates[:, :, 0] * arm).sum(axis=1, keepdims=True) for arm in (whose.place >= weight, whose.place < weight)]
    champion, challenger = (random.poisson(np.repeat(rate, looks, axis=1)) for rate in arms)
    return Paths(champion, challenger, np.full((1, looks), weight))


def by_look(when: Array, arm: Array, looks: int) -> Array:
    """Return how many users of an arm there were by each look."""
    rows = np.broadcast_to(np.arange(len(when))[:, None], when.shape)
    counted = arm & (when < looks)
    flat = rows[counted] * looks + when[counted].astype(int)
    return np.cumsum(np.bincount(flat, minlength=len(when) * looks).reshape(len(when), looks), axis=1)
