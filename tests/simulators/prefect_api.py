"""A real local Prefect server for the tests, one per session, started when the first test asks for it; no test depends on its state."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_core.embedded import prefect_server


@pytest.fixture(scope="session")
def prefect_home() -> Iterator[Path]:
    """Give a home in which a Prefect server runs."""
    home = Path(tempfile.mkdtemp(prefix="aiinfra-prefect-"))
    try:
        prefect_server.ensure_running(home)
        yield home
    finally:
        prefect_server.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_api_url(prefect_home: Path) -> str:
    """Give the address of the server's API."""
    return prefect_server.ensure_running(prefect_home)
