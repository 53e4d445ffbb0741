"""What tests of importing share: an old service, bytes it tells of, and what was kept of its records."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from aiinfra_core import artifact_store, database
from aiinfra_core.domain.imported import Imported, Kind
from aiinfra_core.importing import copying, go_service
from aiinfra_core.registry import imports
from aiinfra_core.settings import Settings
from aiinfra_core.tables import imports as imports_table
from aiinfra_core.tables import model_artifacts
from tests.simulators.go_service import GoService
from tests.simulators.go_service import go_service as running


@pytest.fixture
def old() -> Iterator[GoService]:
    with running() as service:
        yield service


def stored(settings: Settings, name: str) -> tuple[str, bytes]:
    """Put bytes where the old service says they are, and this one may read."""
    source = settings.home / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(name.encode())
    return artifact_store.put(artifact_store.location(settings), source, f"old/{name}").uri, name.encode()


def imported(settings: Settings, service: GoService | str, **options: Any) -> copying.Summary:
    url = service if isinstance(service, str) else service.url
    token = options.pop("token", None)
    return copying.copy(settings, go_service.service_at(url, token), **{"imported_by": "ida", **options})


def kept(settings: Settings, service: GoService, kind: Kind, record: dict[str, Any] | str) -> Imported:
    wanted = record if isinstance(record, str) else str(record["id"])
    with database.snapshot(settings) as tx:
        found = imports.known(tx, service.url, kind, wanted)
    assert found is not None
    return found


def versions(settings: Settings) -> list[str]:
    with database.snapshot(settings) as tx:
        rows = tx.execute(select(model_artifacts.c.model, model_artifacts.c.version).order_by(model_artifacts.c.created_at)).all()
    return [f"{row.model}:{row.version}" for row in rows]


def rows(settings: Settings) -> list[Any]:
    with database.snapshot(settings) as tx:
        return [*tx.execute(select(imports_table).order_by(imports_table.c.id)), *tx.execute(select(model_artifacts))]
