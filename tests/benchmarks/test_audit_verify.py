"""`audit verify` of a long log beside raw Ed25519 verification on all cores; AIINFRA_BENCH_EVENTS sets its length, a million without."""

import os
import subprocess
import sys

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_verifying_a_long_log() -> None:
    line = [sys.executable, "-m", "tests.benchmarks.audit_verify_figures", os.environ.get("AIINFRA_BENCH_EVENTS", "1000000")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=1780, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
