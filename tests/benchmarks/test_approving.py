"""What waiting for a person adds to a promotion: latency and CPU, Postgres included."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(300)
def test_approving_adds_little_to_a_promotion() -> None:
    script = Path(__file__).with_name("approving_figures.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False, cwd=script.parents[2])
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
