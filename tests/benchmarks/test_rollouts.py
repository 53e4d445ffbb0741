"""A look over many open rollouts, and how soon a regression has gone back."""

import subprocess
import sys

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_a_look_over_a_thousand_open_rollouts() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.rollout_figures"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
