"""What every test gets: an environment without settings, and a home of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_core import database, log_tables, tables, work_tables
from aiinfra_core.embedded import postgres, prefect_server
from tests import factories

pytest_plugins = ["tests.simulators.postgres", "tests.simulators.prefect_api", "tests.simulators.softhsm", "tests.simulators.signers"]

_ALL_TABLES = (tables, log_tables, work_tables)  # those of a module nobody imported are not in the metadata
_SETTINGS = ("AI_INFRA_", "AWS_", "BAO_", "REQUIRE_", "VAULT_", "XDG_")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Keep the developer's settings and state out of the test, and end what it started in its home; the folder is not made."""
    for name in list(os.environ):
        if name.startswith(_SETTINGS) or name in ("DATABASE_URL", "NODE_ENV"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AI_INFRA_HOME", str(folder))
    yield folder
    database.close_connections()
    postgres.stop(folder)
    prefect_server.stop(folder)


@pytest.fixture
def code_ref(tmp_path: Path) -> str:
    """Give a training that scores 0.9, as `PATH@COMMIT`."""
    return factories.make_training_repository(tmp_path / "code")
