"""A process of its own that runs what it is asked with the settings of a test: one JSON line in, one out, for each run."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.simulators.postgres import made_database


def run_until(runner: subprocess.Popen[str], settings: Settings, at: int, **asked: Any) -> dict[str, Any]:
    """Ask for one run that is killed at its n-th step, 0 to let it end; return how it ended."""
    assert runner.stdin is not None
    assert runner.stdout is not None
    assert settings.database_url is not None
    assert settings.signer_key_b64 is not None
    environment = {
        "AI_INFRA_DATABASE_URL": settings.database_url.get_secret_value(),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": str(settings.signer_id),
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_HOME": str(settings.home),
    }
    runner.stdin.write(json.dumps({"at": at, **asked, "environment": environment}) + "\n")
    runner.stdin.flush()
    return dict(json.loads(runner.stdout.readline()))


@contextmanager
def running(script: Path) -> Iterator[subprocess.Popen[str]]:
    """Give the process that runs a script of tests/faults."""
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def calls_undisturbed(runner: subprocess.Popen[str], place: AbstractContextManager[Settings], check: Callable[[Settings], None]) -> int:
    """Run the story to its end, check what it left, and return how many calls to the database it made."""
    with place as settings:
        done = run_until(runner, settings, 0)
        assert done["exit"] == 0
        check(settings)
    return int(done["calls"])


def kill_and_run_again(
    runner: subprocess.Popen[str], place: AbstractContextManager[Settings], check: Callable[[Settings], None], at: int
) -> None:
    """Kill the story at its n-th call to the database, run it again and check what is there."""
    with place as settings:
        assert run_until(runner, settings, at)["signal"] == 9, at
        assert run_until(runner, settings, 0)["exit"] == 0, at
        check(settings)


@contextmanager
def fresh_place(server: str, template: str, folder: Path) -> Iterator[Settings]:
    """Give settings with a database, a store and a key of their own."""
    home = Path(tempfile.mkdtemp(dir=folder))
    with made_database(server, template) as url:
        yield Settings(
            AI_INFRA_DATABASE_URL=url, home=home, artifact_root=(home / "store").as_uri(), signer_key_b64=local.generate(), signer_id="test"
        )
