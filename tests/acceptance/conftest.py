"""Prefect for the acceptance tests: one real server per session, and nothing of the developer's own Prefect."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_core.settings import Settings
from tests import factories

# Read by Prefect when it is imported, which must not be before these lines.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="aiinfra-prefect-home-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)
os.environ["PREFECT_PROFILES_PATH"] = f"{os.environ['PREFECT_HOME']}/profiles.toml"
os.environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"
os.environ["DO_NOT_TRACK"] = "1"
for _name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE"):
    os.environ.pop(_name, None)


@pytest.fixture
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Put this test's settings where the flows read theirs; return them for processes of its own."""
    assert settings.database_url is not None
    assert settings.signer_key_b64 is not None
    values = {
        "AI_INFRA_DATABASE_URL": settings.database_url.get_secret_value(),
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": str(settings.signer_id),
        "AI_INFRA_HOME": str(settings.home),
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture(scope="session")
def told_prefect(prefect_api_url: str) -> Iterator[str]:
    """Give the address of the session's server; it is told all that waits to be told before it stops."""
    yield prefect_api_url
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


@pytest.fixture
def prefect_api(told_prefect: str, environment: dict[str, str]) -> Iterator[str]:
    """Run flows in this process against the session's server, with this test's settings."""
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # A heartbeat makes the end of each flow wait up to a second.
    with temporary_settings({PREFECT_API_URL: told_prefect, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield told_prefect


@pytest.fixture
def code_ref(tmp_path: Path) -> str:
    """Give a training that scores 0.9."""
    return factories.make_training_repository(tmp_path / "good")
