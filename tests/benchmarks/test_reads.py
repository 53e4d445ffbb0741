"""Reads at 1,000 and at 1,000,000 artifacts."""

import subprocess
import sys

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_reads() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.reads_figures"], capture_output=True, text=True, timeout=1780, check=False
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
