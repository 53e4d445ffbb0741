"""Traffic that is split as it should be is hardly ever said not to be, at any look; one that is not is found soon."""

from collections.abc import Iterator

import numpy as np
import pytest

from aiinfra_core.canary import e_process
from tests.simulation.judges import at_most

LOOKS, UNITS, WEIGHT = 60, 600, 0.1
LIMIT = e_process.limit(e_process.SPLIT_ALPHA)


def first_found(share: float, rollouts: int) -> Iterator[float]:
    """Yield the look at which each of so many rollouts is found to be split wrongly, without end where it is not."""
    challenger = np.cumsum(np.random.default_rng(7).binomial(UNITS, share, (rollouts, LOOKS)), axis=1)
    for path in challenger.tolist():
        found = (n for n, mine in enumerate(path, 1) if e_process.sample_ratio(n * UNITS - mine, mine, WEIGHT) >= LIMIT)
        yield next(found, np.inf)


def is_hardly_ever_said(rollouts: int, bound: float) -> None:
    found = sum(look < np.inf for look in first_found(WEIGHT, rollouts))
    assert at_most(found, rollouts) <= bound


def test_a_right_split_is_hardly_ever_said_to_be_wrong_in_a_sample() -> None:
    is_hardly_ever_said(1000, 0.01)


@pytest.mark.slow
def test_a_right_split_is_hardly_ever_said_to_be_wrong() -> None:
    is_hardly_ever_said(20_000, 1.5 * e_process.SPLIT_ALPHA)


@pytest.mark.parametrize(("share", "median"), [(0.12, 10), (0.08, 10), (0.15, 3), (0.0, 1), (0.5, 1)])
def test_a_wrong_split_is_found_soon(share: float, median: int) -> None:
    assert np.median(list(first_found(share, 200))) <= median
