"""Register and promote without Prefect: latency and CPU per call, Postgres included, beside one row and one commit."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(300)
def test_register_and_promote_without_prefect() -> None:
    script = Path(__file__).with_name("registry_figures.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
