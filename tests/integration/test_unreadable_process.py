"""A training cannot look into the process that runs it, nor into the service: seen by a real entry point, without powers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc and this guard")

PROJECT = Path(__file__).parents[2]
# Root's capabilities let it look into everything; what is started after PR_CAPBSET_DROP (24) of each has none. Others never had any.
WITHOUT_POWERS = (
    "import ctypes, os, sys; [ctypes.CDLL(None).prctl(24, one, 0, 0, 0) for one in range(64)]; os.execv(sys.argv[1], sys.argv[1:])"
)
SECRET = "signer-key-of-the-runner"  # noqa: S105 - made up
ENTRY_POINT = """
import os
from pathlib import Path
def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
def look(name, path):
    try:
        print(name, "read", path.read_bytes(), flush=True)
    except OSError as error:
        print(name, type(error).__name__, flush=True)
supervisor = os.getppid()
runner = parent_of(supervisor)
look("supervisor", Path(f"/proc/{supervisor}/environ"))
look("environ", Path(f"/proc/{runner}/environ"))
look("memory", Path(f"/proc/{runner}/mem"))
"""
RUNNER = """
import sys
from pathlib import Path
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.training import process
folder = Path(sys.argv[1])
spec = TrainingSpec(model="rows", code_ref="/code@" + 40 * "0", container_digest="sha256:" + 64 * "0", entry_point="train.py", seed=7)
process.prepare(spec, folder, {})
process.run(spec, folder, committed_at=0, log=folder / "log", timeout_seconds=60, on_output=print)
"""
ASKED = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
SERVICE = f"""
from aiinfra_core.errors import Misconfigured
from aiinfra_core.http_api import server
from aiinfra_core.settings import Settings
try:
    server.serve(Settings(addr="nowhere"), on_ready=print)
except Misconfigured:
    {ASKED}
"""
RUNNERS = f"""
import threading
from aiinfra_core import running
from aiinfra_core.settings import Settings
stop = threading.Event()
stop.set()
running.run(Settings(), stop)
{ASKED}
"""


def _said(program: str, *arguments: str) -> str:
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1", "AI_INFRA_DEBUG_TOKEN": SECRET}
    command = [sys.executable, "-c", WITHOUT_POWERS, sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_entry_point_reads_neither_environment_nor_memory_of_what_runs_it(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(ENTRY_POINT)
    said = _said(RUNNER, str(tmp_path))
    lines = said.splitlines()
    assert lines[0].startswith("supervisor read b'"), "what holds no secret can be read, so this test can fail"
    assert lines[1:] == ["environ PermissionError", "memory PermissionError"]
    assert SECRET not in said


@pytest.mark.parametrize("program", [SERVICE, RUNNERS], ids=["service", "runner"])
def test_the_service_and_the_runner_are_unreadable_before_they_do_anything(program: str) -> None:
    assert _said(program).split() == ["0"]
