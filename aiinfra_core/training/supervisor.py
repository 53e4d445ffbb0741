"""Stands between us and the entry point, as a program of its own, so that no process outlives its training.

    python supervisor.py GRACE_SECONDS COMMAND...

It runs COMMAND in a session of its own and ends with its exit code (128 + N when signal N ended it). One byte on standard input means:
stop it, SIGTERM first, SIGKILL after the grace. The end of standard input means that whoever asked is gone: SIGKILL at once. When COMMAND
has ended, by itself or not, everything it started is killed; on Linux this includes processes that moved into other sessions.

Uses the standard library only and reads no setting: it starts without our packages. What COMMAND is comes from `process`.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def main(grace_seconds: float, command: list[str]) -> int:
    """Run a command to its end and leave nothing of it behind; return its exit code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - no shell
    threading.Thread(target=_stop_when_told, args=(running.pid, grace_seconds), daemon=True).start()
    code = running.wait()
    _signal_group(running.pid, signal.SIGKILL)
    _end_adopted()
    return code if code >= 0 else 128 - code


def _stop_when_told(group: int, grace_seconds: float) -> None:
    if os.read(0, 1):
        _signal_group(group, signal.SIGTERM)
        time.sleep(grace_seconds)
    _signal_group(group, signal.SIGKILL)


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_adopted() -> None:
    while True:
        for child in _children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> Iterator[int]:
    for about in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The second field, the program's name, may hold anything; the parent's id is the second one after it.
            if int(about.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                yield int(about.parent.name)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
