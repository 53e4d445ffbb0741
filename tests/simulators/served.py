"""`aiinfra serve` as an operator starts it: a process of its own with its workers, whose log and output are files of the test."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from aiinfra_core.settings import Settings
from tests.simulators.service import AS_DEBUG

PROJECT = Path(__file__).parents[2]
_PATIENCE = 30.0


class Served:
    """A service that was started; its processes are a group of their own."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process, self.out, self.err = process, out, err

    @property
    def url(self) -> str:
        """Where it says it listens."""
        return self.out.read_text().split("Serving ", 1)[1].split(" ", 1)[0]

    @property
    def workers(self) -> list[int]:
        """The processes it forked, the oldest first."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sorted(int(pid) for pid in children)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of JSON in its log."""
        return [json.loads(line) for line in self.err.read_text().splitlines() if line.startswith("{")]

    def client(self, **options: Any) -> httpx.Client:
        """Return a client that comes with the debug token."""
        return httpx.Client(base_url=self.url, timeout=30, **{"headers": AS_DEBUG, **options})

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(_PATIENCE)

    def kill(self) -> None:
        """Kill -9 every process of it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_PATIENCE)


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """Return what configures a process as a test's settings are, with the debug token allowed."""
    assert settings.database_url is not None
    assert settings.signer_key_b64 is not None
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AI_INFRA_", "OTEL_"))}
    return {
        **plain,
        "AI_INFRA_DATABASE_URL": settings.database_url.get_secret_value(),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": str(settings.signer_id),
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_HOME": str(settings.home),
        "AI_INFRA_ALLOW_DEBUG_TOKEN": "true",
        "AI_INFRA_DEBUG_TOKEN": AS_DEBUG["X-Debug-Token"],
        **more,
    }


@contextmanager
def started(folder: Path, variables: dict[str, str], *flags: str) -> Iterator[Served]:
    """Start `aiinfra serve`, wait until it says that it serves, and in the end see that nothing of it stays."""
    folder.mkdir(parents=True, exist_ok=True)
    with begun(folder, variables, *flags) as served:
        wait_until(lambda: "Next: " in served.out.read_text(), served)
        yield served


@contextmanager
def begun(folder: Path, variables: dict[str, str], *flags: str) -> Iterator[Served]:
    """Start `aiinfra serve` without waiting for it."""
    out, err = folder / "out.txt", folder / "err.txt"
    code = "import sys; from aiinfra_core.cli.app import main; sys.exit(main(sys.argv[1:]))"
    with out.open("wb") as output, err.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--addr", "127.0.0.1:0", *flags],
            env=variables,
            cwd=PROJECT,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    served = Served(process, out, err)
    try:
        yield served
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(true: Callable[[], bool], served: Served | None = None) -> None:
    """Wait until something is so; a service that ends meanwhile fails the test with its last words."""
    deadline = time.monotonic() + _PATIENCE
    while not true():
        if served is not None and served.process.poll() is not None:
            raise AssertionError(f"it ended with {served.process.returncode}: {served.err.read_text()[-2000:]}")
        assert time.monotonic() < deadline, f"it took too long: {served.err.read_text()[-2000:] if served else ''}"
        time.sleep(0.02)
