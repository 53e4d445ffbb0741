"""The arithmetic of the judge: e-processes for "worse than a margin", for "clearly better than a bound", and for a wrong split.

Each is a non-negative process that starts at 1 and, if its null hypothesis is true, is not expected to grow at any event. By Ville's
inequality it then reaches 1/alpha at any time at all with a probability of at most alpha, however often it is looked at. Everything is
kept as a natural logarithm. Counts may be numpy arrays, except in `mixed` and `sample_ratio`.

Sources: J. Ville, Etude critique de la notion de collectif (1939); A. Wald, Sequential Analysis (1947), for mixtures of likelihood ratios;
A. Ramdas, P. Grunwald, V. Vovk, G. Shafer, Game-theoretic statistics and safe anytime-valid inference (Statistical Science, 2023);
M. Lindon, A. Malek, Anytime-valid inference for multinomial count data (NeurIPS 2022), for the split.
"""

import math
from functools import lru_cache

RISKS = (1.5, 2.0, 3.0, 5.0, 10.0)
"""How many times worse than the margin the alternatives of the mixture are."""
CLEARLY_WORSE = 1.5
"""A challenger so many times worse than the margin is what evidence for advancing speaks against."""
SPLIT_ALPHA = 0.001
"""How often, at most, a step in which traffic is split as it should be is said not to be."""
_SPLIT_PRIOR = 1000.0  # as sure as a thousand units: deviations of about a tenth are found soonest


def theta(weight: float, risk: float) -> float:
    """Return how likely a bad event is the challenger's: it gets `weight` of the traffic and fails `risk` times as often."""
    return weight * risk / (weight * risk + 1 - weight)


@lru_cache(maxsize=4096)
def _per_event(weight: float, alternative: float, null: float) -> tuple[float, float]:
    """Return what each bad event adds, and what it adds besides where it is the challenger's: the logarithms of the ratio of `theta`s."""
    return -math.log((weight * alternative + 1 - weight) / (weight * null + 1 - weight)), math.log(alternative / null)


def log_ratio(champion: int, challenger: int, weight: float, alternative: float, null: float) -> float:
    """Return the log likelihood ratio of bad events of each arm, of one risk against another."""
    each, on_challenger = _per_event(weight, alternative, null)
    return (champion + challenger) * each + challenger * on_challenger


def worse(champion: int, challenger: int, weight: float, margin: float) -> tuple[float, ...]:
    """Return the log likelihood ratios of "`margin` times a risk" against "`margin`", for each of the risks of the mixture."""
    return tuple(log_ratio(champion, challenger, weight, margin * risk, margin) for risk in RISKS)


def mixed(ratios: tuple[float, ...]) -> float:
    """Return the logarithm of the mean of what these are logarithms of."""
    most = max(ratios)
    return most + math.log(sum(math.exp(ratio - most) for ratio in ratios) / len(ratios))


def as_good(champion: int, challenger: int, weight: float, margin: float) -> float:
    """Return the log likelihood ratio of "as good as the champion" against "1.5 times the margin"."""
    return log_ratio(champion, challenger, weight, 1.0, CLEARLY_WORSE * margin)


def sample_ratio(champion: int, challenger: int, weight: float) -> float:
    """Return the log e-value against "each unit goes to the challenger with probability `weight`": a beta-binomial mixture around it."""
    a, b, units = _SPLIT_PRIOR * weight, _SPLIT_PRIOR * (1 - weight), champion + challenger
    drawn = math.lgamma(a + challenger) + math.lgamma(b + champion) - math.lgamma(_SPLIT_PRIOR + units)
    prior = math.lgamma(a) + math.lgamma(b) - math.lgamma(_SPLIT_PRIOR)
    return drawn - prior - challenger * math.log(weight) - champion * math.log1p(-weight)


def limit(alpha: float) -> float:
    """Return what the logarithm of an e-process has to reach: ln(1/alpha)."""
    return -math.log(alpha)
