"""What one decision of a local policy costs, and replaying one over the past."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "figures", ["policy_figures.py", "simulate_figures.py"], ids=["a decision by 20 rules", "10,000 decisions replayed"]
)
def test_local_policies(figures: str) -> None:
    script = Path(__file__).with_name(figures)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=580, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
