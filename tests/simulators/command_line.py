"""The command line in this process: fixtures that configure an installation of the test's own, and type at it."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core.cli import app
from aiinfra_core.settings import Settings
from tests.factories import CONTAINER, make_training_repository

Run = Callable[..., "Ran"]


class Ran:
    """What a command left: exit code, standard output, standard error."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of the error."""
        lines = [line for line in self.err.splitlines() if line.startswith("aiinfra: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("aiinfra: ")


@pytest.fixture
def installation(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Configure a database, a store and a key of this test's own, as an operator would."""
    assert settings.database_url is not None
    assert settings.signer_key_b64 is not None
    for name, value in {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "ARTIFACT_ROOT": settings.artifact_root,
        "SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "SIGNER_ID": settings.signer_id,
    }.items():
        monkeypatch.setenv(f"AI_INFRA_{name}", str(value))
    return settings


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that types a command line; no command may end with a traceback."""

    def typed(line: str) -> Ran:
        code = app.main(shlex.split(line))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ran(code, out, err)

    return typed


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    make_training_repository(tmp_path / "repository")
    return tmp_path / "repository"


def train_line(repository: Path, *more: str, entry_point: str = "train.py", seed: str = "--seed 7") -> str:
    pinned = f"--code {repository} --entry-point {entry_point} --container-digest {CONTAINER}"
    return " ".join(("train --model rain", pinned, seed, *more))


@pytest.fixture
def registered(installation: Settings, run: Run, repository: Path) -> dict[str, Any]:
    """Train and register a small model; give its artifact."""
    job = run(train_line(repository, "--json")).json
    artifact: dict[str, Any] = run(f"register {job['id']} --json").json
    return artifact
