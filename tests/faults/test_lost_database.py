"""The database is lost in the middle of a promotion: the caller hears it, and the same call completes it afterwards."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, event, select

from aiinfra_core import artifact_store, database, promoting, registering, verifying
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.errors import Unavailable
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings


@contextmanager
def _connections_cut(settings: Settings, at: int) -> Iterator[None]:
    """Terminate every connection to the database just before the n-th statement in the block."""
    assert settings.database_url is not None
    url, calls = settings.database_url.get_secret_value(), 0

    def cut(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            with psycopg.connect(url, autocommit=True) as administrator:
                administrator.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    event.listen(Engine, "before_cursor_execute", cut)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", cut)
    assert calls >= at


@pytest.mark.parametrize("at", [9, 10])
def test_a_promotion_whose_database_is_lost_while_its_events_are_chained_stands_and_they_are_chained_later(
    settings: Settings, tmp_path: Path, at: int
) -> None:
    request = _asked(settings, tmp_path)
    with _connections_cut(settings, at):
        assert promoting.promote(settings, request).status is PromotionStatus.APPLIED
    assert verifying.verify_history(settings).waiting == 6
    assert promoting.promote(settings, request).status is PromotionStatus.APPLIED
    history = verifying.verify_history(settings)
    assert (history.events, history.waiting, history.findings) == (8, 0, [])


def _asked(settings: Settings, tmp_path: Path) -> PromotionRequest:
    source = tmp_path / "model.bin"
    source.write_bytes(b"weights")
    stored = artifact_store.put(artifact_store.location(settings), source, "uploads/model")
    asked = RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    artifact = registering.register(settings, asked)
    return PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul")


@pytest.mark.parametrize("at", range(1, 9))
def test_a_promotion_whose_database_is_lost_on_the_way_is_unavailable_and_completes_when_asked_again(
    settings: Settings, tmp_path: Path, at: int
) -> None:
    request = _asked(settings, tmp_path)
    with _connections_cut(settings, at), pytest.raises(Unavailable) as lost:
        promoting.promote(settings, request)
    assert lost.value.part == "database"
    assert promoting.promote(settings, request).status is PromotionStatus.APPLIED
    with database.transaction(settings) as tx:
        events = Counter(tx.execute(select(audit_events.c.event_type)).scalars())
    assert set(events.values()) == {1}
    assert len(events) == 8
    assert verifying.verify_history(settings).findings == []
