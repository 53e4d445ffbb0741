"""The audit log's speed: sequencing by signer, what concurrent writers lose to it, and proofs in a log of a million events."""

import subprocess
import sys

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(900)
@pytest.mark.parametrize("figures", ["sequencing_figures", "proof_figures"])
def test_the_audit_log(figures: str) -> None:
    command = [sys.executable, "-m", f"tests.benchmarks.{figures}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
