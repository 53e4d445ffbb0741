"""Starting, recognising and ending servers that outlive the process that started them; which servers, the other rooms say."""

import fcntl
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals

from aiinfra_core.errors import Misconfigured

_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")

# A shell of its own session stands in between, so that the server is nobody's child and its number is written down
# even when the process that asked for it is killed that very moment.
_DETACH = 'log=$0 number=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo "$!" >"$number"'


def private_folder(path: Path) -> Path:
    """Make a folder only its owner may enter, unless it is there; return it without symlinks.

    Raises:
        Misconfigured: it cannot be made or written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"{path} cannot be made ({error.strerror}); set AI_INFRA_HOME to a folder you may write to.") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise Misconfigured(f"{path} cannot be written to; set AI_INFRA_HOME to a folder you may write to.")
    return path.resolve()


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Let one process at a time through, among all that name this file; a killed one lets the next through.

    Gives the descriptor that holds the lock: a child that inherits it keeps the next one waiting until it has ended too.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def plain_environment() -> dict[str, str]:
    """Return the few variables a server needs; it outlives us, and no secret of ours belongs into it."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def start_detached(command: Sequence[str], *, folder: Path, environment: Mapping[str, str], held: int, log: Path, number: Path) -> None:
    """Start a server that stays when we go; returns once its process number is written down.

    Args:
        command: program and arguments.
        folder: where it runs.
        environment: all it gets to see.
        held: a descriptor that stays open in the server; a lock on it lasts as long as the server lives.
        log: its output is added here.
        number: its process number is written here.
    """
    subprocess.run(  # noqa: S603 - the command is made by us, and the shell sees it only as "$@"
        ["/bin/sh", "-c", _DETACH, str(log), str(number), *command],
        cwd=folder,
        env=dict(environment),
        pass_fds=[held],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        check=True,
    )


def command_line(pid: int) -> str | None:
    """Return how a running process was called, its arguments with a space after each; None when it is gone."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") or None
        except OSError:
            return None
    shown = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607 - a number
    return f"{shown.stdout.strip()} " if shown.stdout.strip() else None


def end(pid: int, alive: Callable[[], bool], steps: Sequence[tuple[Signals, float]]) -> bool:
    """Send each signal in turn until the process is gone, waiting the given seconds after each; return whether it is gone."""
    for signal, seconds in steps:
        if not alive():
            return True
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            return True
        wait_until(lambda: not alive(), seconds)
    return not alive()


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again until the answer is yes or the time is over; return the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def tail(log: Path, lines: int = 6) -> str:
    """Return the last lines of a log as one line; empty when there is none."""
    try:
        written = log.read_bytes()[-8192:].decode(errors="replace")
    except OSError:
        return ""
    return " | ".join(line.strip() for line in written.splitlines()[-lines:] if line.strip())
