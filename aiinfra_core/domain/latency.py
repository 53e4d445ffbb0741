"""Latencies in bins, so that what is reported of them is small and says nothing about one request: each bin is a tenth wider."""

import math

LEAST_SECONDS = 0.001
GROWTH = 1.1
MOST_BIN = 160
"""Bin 0 ends at a millisecond, bin N at 1.1 ** N milliseconds; the last has no end (it begins after more than an hour)."""


def bin_of(seconds: float) -> int:
    """Return the bin of a latency, in seconds: the first that does not end before it; the last for what can be none."""
    if not 0 <= seconds < _LONGEST_SECONDS:
        return MOST_BIN
    if seconds <= LEAST_SECONDS:
        return 0
    return min(MOST_BIN, math.ceil(math.log(seconds / LEAST_SECONDS) / math.log(GROWTH) - 1e-9))


def upper_seconds(number: int) -> float:
    """Return where a bin ends, in seconds."""
    return LEAST_SECONDS * GROWTH**number


_LONGEST_SECONDS = upper_seconds(MOST_BIN)
