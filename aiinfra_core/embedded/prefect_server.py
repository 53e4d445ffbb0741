"""One local Prefect server with its UI (at `/`), on a SQLite file of its own in `HOME/prefect`; Prefect is never imported here.

A server holds a lock on the file `alive` for as long as it lives, however it was started and however it ends: so nobody
starts a second one, and no signal goes to a process that merely got its number later.
"""

import fcntl
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL, SIGTERM

import httpx

from aiinfra_core.embedded import processes
from aiinfra_core.errors import Unavailable

logger = logging.getLogger(__name__)

_PREFERRED_PORT = 4200
_ENDING = ((SIGTERM, 20.0), (SIGKILL, 5.0))
_PROGRESS_SECONDS = 5.0


def start(home: Path) -> str:
    """Start this home's server unless it runs, without waiting until it answers; return the address of its API.

    Another program may still be quicker to take the port; `ensure_running` then starts it again and returns the address that holds.

    Raises:
        Misconfigured: the home folder cannot be made.
    """
    with _only_us(home):
        return _api(home) if _alive(home) else _start_on(home, _free_port())


def ensure_running(home: Path, *, timeout_seconds: float = 120.0, on_wait: Callable[[float], None] | None = None) -> str:
    """Start this home's server unless it runs and wait until it answers; return the address of its API.

    Args:
        home: the folder of this installation's state.
        timeout_seconds: how long to wait; a first start takes about half a minute.
        on_wait: told every few seconds how many have passed; without it they are logged.

    Raises:
        Misconfigured: the home folder cannot be made.
        Unavailable: the server ended, or does not answer in time.
    """
    url = start(home)
    for _ in _moments(timeout_seconds, on_wait or _log_progress):
        if _answers(home, url):
            return url
        if not _alive(home):
            url = _again_if_the_port_was_taken(home)
    raise Unavailable("prefect_server", f"The Prefect server at {url} does not answer; read {_log(home)}.")


def is_running(home: Path) -> bool:
    """Say whether this home's server lives and answers."""
    return _alive(home) and _answers(home, _api(home))


def stop(home: Path) -> bool:
    """Stop this home's server in good order; return whether there was one.

    Raises:
        Unavailable: it did not end.
    """
    if not _alive(home):
        return False
    with _only_us(home):
        if not _alive(home):
            return False
        pid = _number(home, "pid")
        if not processes.end(pid, lambda: _alive(home), _ENDING):
            raise Unavailable("prefect_server", f"The Prefect server (process {pid}) does not end; end that process by hand.")
    return True


def _folder(home: Path) -> Path:
    return home.resolve() / "prefect"


def _log(home: Path) -> Path:
    return _folder(home) / "server.log"


def _api(home: Path) -> str:
    return f"http://127.0.0.1:{_number(home, 'port')}/api"


def _number(home: Path, name: str) -> int:
    return int((_folder(home) / name).read_text())


@contextmanager
def _only_us(home: Path) -> Iterator[None]:
    folder = processes.private_folder(processes.private_folder(home) / "prefect")
    with processes.exclusive(folder / "lock"):
        yield


def _alive(home: Path) -> bool:
    try:
        descriptor = os.open(_folder(home) / "alive", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who ask at once do not take each other for the server.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _start_on(home: Path, port: int) -> str:
    folder = _folder(home)
    if _log(home).exists():
        _log(home).replace(folder / "server.log.before")
    (folder / "port").write_text(str(port))
    descriptor = os.open(folder / "alive", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        processes.start_detached(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            folder=folder,
            environment=processes.plain_environment() | _environment(folder),
            held=descriptor,
            log=_log(home),
            number=folder / "pid",
        )
    finally:
        os.close(descriptor)
    return _api(home)


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def _free_port() -> int:
    for wanted in (_PREFERRED_PORT, 0):
        if (port := _bindable(wanted)) is not None:
            return port
    raise Unavailable("prefect_server", "No port is free on 127.0.0.1 for the Prefect server; close something.")


def _bindable(port: int) -> int | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return None
        return int(probe.getsockname()[1])


def _answers(home: Path, url: str) -> bool:
    """Say whether this home's server answers there, and not another program that was quicker to take the port."""
    try:
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            healthy = client.get(f"{url}/health").status_code == httpx.codes.OK
            return healthy and client.get(f"{url}/admin/settings").json().get("home") == str(_folder(home))
    except (httpx.HTTPError, ValueError, AttributeError):
        return False


def _again_if_the_port_was_taken(home: Path) -> str:
    if _bindable(_number(home, "port")) is None:
        return start(home)
    said = processes.tail(_log(home))
    raise Unavailable("prefect_server", f"The Prefect server ended at once; mend this, its log is {_log(home)}: {said}")


def _moments(seconds: float, tell: Callable[[float], None]) -> Iterator[None]:
    """Yield four times a second until the time is over, telling every few seconds how much has passed."""
    begun, told = time.monotonic(), 0.0
    while (passed := time.monotonic() - begun) < seconds:
        yield
        if passed - told >= _PROGRESS_SECONDS:
            told = passed
            tell(passed)
        time.sleep(0.25)


def _log_progress(seconds: float) -> None:
    logger.info("Waiting for the Prefect server to start: %.0f s.", seconds)
