"""Judges of many rollouts at once: that of `canary`, written once more for arrays, and one that tests each look as if it were the only one.

That the first is `canary.judge` is held by `test_canary_judge_itself`.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from tests.simulation.paths import Array, Paths

RISKS = (1.5, 2, 3, 5, 10)
Judge = Callable[[Paths, float, float], Array]
"""Paths, a margin and an alpha, to whether each look at each of them says so."""


def is_worse(paths: Paths, margin: float, alpha: float) -> Array:
    """Whether the evidence that a challenger is more than `margin` times worse suffices."""
    return worse_evidence(paths, margin) >= math.log(1 / alpha)


def is_as_good(paths: Paths, margin: float, alpha: float) -> Array:
    """Whether the evidence that a challenger is less than 1.5 times the margin worse suffices."""
    return as_good_evidence(paths, margin) >= math.log(1 / alpha)


def worse_evidence(paths: Paths, margin: float) -> Array:
    """The logarithm of the mean of five likelihood ratios."""
    ratios = [np.cumsum(_log_ratio(paths, margin * risk, margin), axis=1) for risk in RISKS]
    most = np.maximum.reduce(ratios)
    return most + np.log(sum(np.exp(ratio - most) for ratio in ratios) / len(RISKS))


def as_good_evidence(paths: Paths, margin: float) -> Array:
    """The logarithm of the likelihood ratio of as good as the champion, of a step."""
    return np.cumsum(_log_ratio(paths, 1, 1.5 * margin), axis=1)


def _log_ratio(paths: Paths, alternative: float, null: float) -> Array:
    one_at_risk = (paths.weight <= 0) | (paths.weight >= 1)
    weight = np.where(one_at_risk, 0.5, paths.weight)
    theta = [weight * risk / (weight * risk + 1 - weight) for risk in (alternative, null)]
    added = paths.challenger * np.log(theta[0] / theta[1]) + paths.champion * np.log((1 - theta[0]) / (1 - theta[1]))
    return np.where(one_at_risk, 0, added)


def z_test_of_worse(paths: Paths, margin: float, alpha: float) -> Array:
    """A mutant: the usual one-sided test of the bad units so far, at each look."""
    return _z(paths, margin) >= NormalDist().inv_cdf(1 - alpha)


def z_test_of_as_good(paths: Paths, margin: float, alpha: float) -> Array:
    """A mutant of the other side."""
    return _z(paths, 1.5 * margin) <= -NormalDist().inv_cdf(1 - alpha)


def _z(paths: Paths, risk: float) -> Array:
    bad, share = paths.champion + paths.challenger, paths.weight * risk / (paths.weight * risk + 1 - paths.weight)
    expected, spread = np.cumsum(bad * share, axis=1), np.cumsum(bad * share * (1 - share), axis=1)
    few = spread < 3  # it is not even asked where the normal approximation is bad
    return np.where(few, 0, (np.cumsum(paths.challenger, axis=1) - expected) / np.sqrt(np.where(few, 1, spread)))


def at_most(count: int, of: int, confidence: float = 0.99) -> float:
    """Return the upper confidence bound of a share of which `count` of `of` were seen (C. Clopper, E. Pearson, 1934)."""
    low, high = count / of, 1.0
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most_so_many(count, of, middle) > 1 - confidence else (low, middle)
    return high


def _at_most_so_many(count: int, of: int, share: float) -> float:
    logs = (
        math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1) + k * math.log(share) + (of - k) * math.log1p(-share)
        for k in range(count + 1)
    )
    return math.fsum(math.exp(log) for log in logs)
