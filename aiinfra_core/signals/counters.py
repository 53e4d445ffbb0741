"""What samples of Prometheus mean: how much each counter rose, through restarts, and what of it is no counting at all.

A counter that is lower than before has begun again at 0. One that was never seen before has begun at 0, too: whether it was is asked
first, because one that was out of sight for a while would otherwise count all of its past.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from aiinfra_core.domain.rollout import Heard
from aiinfra_core.signals.readings import Unusable

Labels = tuple[tuple[str, str], ...]
Sample = tuple[float, float]
"""When, in seconds since 1970, and how much."""
_WHOLE = 1e-6
_MOST_RISE = 2**53  # above it a double no longer tells one unit from none
_CLOCK_SECONDS = 1.0
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*(e[+-]?[0-9]+)?|inf|nan)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Series:
    """One counter: the labels that tell it from others, and its samples, oldest first."""

    labels: Labels
    samples: Sequence[Sample]


def series_of(result: Any, until: float) -> list[Series]:
    """Return the series of a `vector` or `matrix`, as Prometheus answered it about a time that ended `until`, in seconds since 1970.

    Raises:
        Unusable: it is neither, or a sample is none of a counter, or of no time before that.
    """
    try:
        found = [Series(_labels(one["metric"]), _samples(one, until)) for one in result]
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):
        raise Unusable(Heard.MALFORMED, "Prometheus answered series that cannot be read") from None
    if len({one.labels for one in found}) != len(found):
        raise Unusable(Heard.MALFORMED, "Prometheus answered one series twice")
    return found


def new_in(series: Sequence[Series], since: float) -> bool:
    """Return whether one of these has no sample at this time or before."""
    return any(one.samples[0][0] > since for one in series)


def rises(series: Sequence[Series], since: float, earlier: Sequence[Series] = ()) -> dict[Labels, int]:
    """Return by how much each series rose after a time; `earlier` are older samples of those that had none at that time.

    Raises:
        Unusable: one rose by a part of a unit, so it counts none, or by more than can be counted.
    """
    before = {one.labels: one.samples[-1][1] for one in earlier}
    return {one.labels: _whole(_rise(one.samples, since, before.get(one.labels, 0.0))) for one in series}


def newest(series: Sequence[Series]) -> float | None:
    """Return when the newest sample is of, None where there is none."""
    return max((one.samples[-1][0] for one in series), default=None)


def _rise(samples: Sequence[Sample], since: float, last: float) -> float:
    risen = 0.0
    for moment, value in samples:
        if moment > since:
            risen += value - last if value >= last else value
        last = value
    return risen


def _whole(risen: float) -> int:
    if not risen <= _MOST_RISE:
        raise Unusable(Heard.MALFORMED, f"a counter rose by {risen:g}, which is more than can be counted")
    if abs(risen - round(risen)) > _WHOLE * max(1.0, risen):
        raise Unusable(Heard.MALFORMED, f"a counter rose by {risen:g}, which is no number of units")
    return round(risen)


def _labels(metric: Mapping[str, str]) -> Labels:
    labels = tuple(sorted(metric.items()))
    if not all(isinstance(value, str) for _, value in labels):
        raise ValueError("a label is no text")
    return labels


def _samples(one: Mapping[str, Any], until: float) -> list[Sample]:
    pairs = one["values"] if "values" in one else [one["value"]]
    samples = [(_moment(moment, until), _counter(value)) for moment, value in pairs]
    if not samples or any(later[0] <= sample[0] for sample, later in pairwise(samples)):
        raise ValueError("samples are not in order")
    return samples


def _moment(value: Any, until: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a time is no number")
    if not 0 <= value <= until + _CLOCK_SECONDS:  # one after what was asked about would never be late
        raise ValueError("a sample is of no time that was asked about")
    return float(value)


def _counter(text: Any) -> float:
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise TypeError("a sample is no text of a number")
    value = float(text)
    if not math.isfinite(value):
        raise Unusable(Heard.NOT_A_NUMBER, f"Prometheus answered {value}")
    if value < 0:
        raise Unusable(Heard.NEGATIVE, f"Prometheus answered {value:g}, and a counter is never less than 0")
    return value
