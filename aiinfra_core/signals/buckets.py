"""Latencies out of a classic Prometheus histogram: how much lies above a bound, and which bound is where a quantile lies."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from aiinfra_core.domain.rollout import Heard
from aiinfra_core.signals.counters import Labels
from aiinfra_core.signals.readings import ENOUGH_UNITS, Unusable

Histogram = Mapping[float, int]
"""By upper bound in seconds, how much was at most so slow; the infinite one has all."""


def summed(rises: Mapping[Labels, int]) -> Histogram:
    """Return what all processes of an arm counted together, by the bounds that all of them have.

    Raises:
        Unusable: a series has no bound that can be a latency, a process counts no total, or more below a bound than below a higher one.
    """
    processes: dict[Labels, dict[float, int]] = {}
    for labels, risen in rises.items():
        others = tuple(label for label in labels if label[0] != "le")
        processes.setdefault(others, {})[_bound(dict(labels).get("le"))] = risen
    if any(math.inf not in one for one in processes.values()):
        raise Unusable(Heard.MALFORMED, 'a histogram has no bucket le="+Inf", so nobody knows of how many it is')
    bounds = sorted(set.intersection(*(set(one) for one in processes.values()))) if processes else []
    total = {bound: sum(one[bound] for one in processes.values()) for bound in bounds}
    if any(total[lower] > total[higher] for lower, higher in pairwise(bounds)):
        raise Unusable(Heard.MALFORMED, "a histogram has more below a bound than below a higher one")
    return total


def bound_for(histograms: Sequence[Histogram], seconds: float) -> float:
    """Return the lowest bound of all these histograms that is not below a number of seconds.

    Raises:
        Unusable: they have none.
    """
    common = set.intersection(*(set(one) for one in histograms))
    fitting = [bound for bound in common if seconds <= bound < math.inf]
    if not fitting:
        raise Unusable(Heard.MALFORMED, f"no bucket that all processes have ends at {seconds:g} s or above")
    return min(fitting)


def slower(histogram: Histogram, bound: float) -> tuple[int, int]:
    """Return of how many it is, and how many were slower than a bound."""
    units = histogram.get(math.inf, 0)
    return units, units - histogram.get(bound, 0)


def quantile_bound(histogram: Histogram, quantile: float) -> float | None:
    """Return the lowest bound below which this share lies, None where too little was seen.

    Raises:
        Unusable: it lies above the last bound.
    """
    units = histogram.get(math.inf, 0)
    if units < ENOUGH_UNITS:
        return None
    bound = next(one for one in sorted(histogram) if histogram[one] >= quantile * units)
    if bound == math.inf:
        raise Unusable(Heard.MALFORMED, f"the champion's {quantile:g} quantile is above the last bucket; add larger ones")
    return bound


def _bound(text: str | None) -> float:
    try:
        bound = float(text or "")
    except ValueError:
        bound = math.nan
    if not bound >= 0:
        raise Unusable(Heard.MALFORMED, "a series has no `le` of 0 or more; buckets must select the _bucket series of a histogram")
    return bound
