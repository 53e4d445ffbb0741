"""The service beside a minimal one: CPU, throughput and latency of a registration and a read; start and memory."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(400)
def test_registrations_and_reads_of_the_service() -> None:
    script = Path(__file__).with_name("service_figures.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
