"""Signatures per second of the remote signers, with a key service that takes 20 ms."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.benchmark
@pytest.mark.timeout(300)
def test_signatures_of_a_key_service_that_takes_20_ms() -> None:
    script = Path(__file__).with_name("signer_figures.py")
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # noqa: T201
