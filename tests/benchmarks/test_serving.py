"""What it costs to choose who answers a request."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(300)
def test_choosing_costs_a_request_next_to_nothing() -> None:
    script = Path(__file__).with_name("serving_figures.py")
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
