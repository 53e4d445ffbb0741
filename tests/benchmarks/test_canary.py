"""What the canary judge costs per look and signal."""

import pytest

from tests.benchmarks import canary_figures


@pytest.mark.benchmark
def test_a_look() -> None:
    canary_figures.main()
