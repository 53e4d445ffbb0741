"""In a served process threads look after the log: writes only ring, and what happened is chained, published and delivered soon."""

import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, event, select

from aiinfra_core import artifact_store, database, registering, verifying
from aiinfra_core.audit_log import checkpoints, keeping_up, looking_after
from aiinfra_core.audit_log.looking_after import Bell
from aiinfra_core.audit_log.sequence import _LOCKS, waiting
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.log_tables import audit_checkpoints, audit_events
from aiinfra_core.registry import jobs
from aiinfra_core.settings import Settings
from tests.factories import training_spec
from tests.simulators.s3_servers import wait_until


@pytest.fixture
def asked(settings: Settings, tmp_path: Path) -> RegistrationRequest:
    source = tmp_path / "model.bin"
    source.write_text("weights")
    stored = artifact_store.put(artifact_store.location(settings), source, "uploads/model")
    return RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")


def _register(settings: Settings, asked: RegistrationRequest, *names: str) -> None:
    """Register without a scan: one event for each."""
    unscanned = settings.model_copy(update={"scan": False})
    for name in names:
        registering.register(unscanned, asked.model_copy(update={"request_id": name}))


def _write_elsewhere(settings: Settings, number: int) -> None:
    """Change something as another process does: nobody in this one is told."""
    with database.transaction(settings) as tx:
        spec = training_spec(f"/code@{'a' * 40}", seed=number)
        jobs.request(tx, spec, requested_by="tess", request_id=f"t{number}", at=datetime.now(UTC))


def _waiting(settings: Settings) -> int:
    with database.autocommit(settings) as connection:
        return waiting(connection)


def _published(settings: Settings) -> list[int]:
    with database.autocommit(settings) as connection:
        return list(connection.execute(select(audit_checkpoints.c.size).order_by(audit_checkpoints.c.size)).scalars())


def test_a_write_does_not_chain_its_event_but_a_thread_does_soon(settings: Settings, asked: RegistrationRequest) -> None:
    threads = set()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "INSERT INTO audit_events" in statement:
            threads.add(threading.current_thread().name)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with keeping_up.in_background(settings):
            _register(settings, asked, "one", "two", "three")
            wait_until(lambda: _waiting(settings) == 0, 5)
        _register(settings, asked, "four")
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert threads == {"audit-log", threading.current_thread().name}
    assert (verifying.verify_history(settings).events, _waiting(settings)) == (4, 0)


def test_what_another_process_wrote_is_chained_although_nobody_rings(settings: Settings) -> None:
    with keeping_up.in_background(settings):
        time.sleep(0.3)
        for number in range(3):
            _write_elsewhere(settings, number)
        wait_until(lambda: _waiting(settings) == 0, 5)


def test_a_write_does_not_wait_for_a_sequencer_that_is_held_up(settings: Settings, asked: RegistrationRequest) -> None:
    with keeping_up.in_background(settings):
        # In this order: the thread may hold the second, and waits for the first.
        with database.advisory_lock(settings, _LOCKS["next"]), database.advisory_lock(settings, _LOCKS["turn"]):
            _register(settings, asked, "one", "two")
            assert _waiting(settings) == 2
        wait_until(lambda: _waiting(settings) == 0, 5)


def test_checkpoints_are_published_on_the_way_and_the_last_one_covers_all_that_was_written(
    settings: Settings, asked: RegistrationRequest
) -> None:
    often = settings.model_copy(update={"checkpoint_seconds": 0.2})
    with keeping_up.in_background(often):
        _register(often, asked, "one")
        wait_until(lambda: _published(often) == [1], 10)
        _register(often, asked, "two")
        wait_until(lambda: _published(often) == [1, 2], 10)
    seldom = settings.model_copy(update={"checkpoint_seconds": 60.0})
    with keeping_up.in_background(seldom):
        time.sleep(0.3)
        _register(seldom, asked, "three", "four", "five")
    assert (_published(settings), _waiting(settings)) == ([1, 2, 5], 0)
    assert [size for size, _ in checkpoints.outside(settings)] == [1, 2, 5]


def test_events_are_delivered(settings: Settings, asked: RegistrationRequest, tmp_path: Path) -> None:
    delivering = settings.model_copy(update={"audit_sinks": ((tmp_path / "archive").as_uri(),)})
    with keeping_up.in_background(delivering):
        _register(delivering, asked, "one", "two")
        wait_until(lambda: len(list((tmp_path / "archive").rglob("audit/*/*/*/*.json"))) == 2, 10)


def test_after_an_outage_of_the_database_the_log_goes_on(
    settings: Settings, asked: RegistrationRequest, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with keeping_up.in_background(settings), psycopg.connect(url, autocommit=True) as administrator:
        _register(settings, asked, "one")
        wait_until(lambda: _waiting(settings) == 0, 5)
        for _ in range(5):
            administrator.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            time.sleep(0.3)
        _write_elsewhere(settings, 1)
        wait_until(lambda: _waiting(settings) == 0, 10)
    assert verifying.verify_history(settings).findings == []
    assert "Something unexpected" not in caplog.text


def test_a_broken_history_is_told_once_and_the_service_goes_on(
    settings: Settings, asked: RegistrationRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking_after, "POLL_SECONDS", 0.1)
    _register(settings, asked, "one")
    keeping_up.publish(settings)
    with database.transaction(settings) as tx:
        note = bytes(tx.execute(select(audit_checkpoints.c.note)).scalar_one())
    folder = Path((settings.artifact_root or "").removeprefix("file://")) / "checkpoints" / settings.log_origin.replace("/", "_")
    (folder / f"{9:020d}").write_bytes(note)
    often = settings.model_copy(update={"checkpoint_seconds": 0.1})
    with keeping_up.in_background(often):
        _register(often, asked, "two")
        wait_until(lambda: "cannot be looked after: checkpoint" in caplog.text, 10)
        time.sleep(0.5)
        _register(often, asked, "three")
        wait_until(lambda: _waiting(often) == 0, 5)
    told = [record for record in caplog.records if "cannot be looked after" in record.message]
    assert (len(told), told[0].levelno) == (1, logging.ERROR)


def test_two_processes_with_threads_each_chain_every_event_once(settings: Settings, asked: RegistrationRequest) -> None:
    # Two sets of threads in one process take the same two locks in the database as two processes do.
    with looking_after.in_threads(settings) as ring, keeping_up.in_background(settings):
        for number in range(60):
            _write_elsewhere(settings, number)
            ring()
            _register(settings, asked, f"r{number}")
        wait_until(lambda: _waiting(settings) == 0, 5)
    with database.transaction(settings) as tx:
        assert tx.execute(select(audit_events.c.seq).order_by(audit_events.c.seq)).scalars().all() == list(range(1, 121))


def test_who_rings_while_many_wait_is_held_up_until_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking_after, "LONGEST_WAIT_SECONDS", 20.0)
    bell, rung = Bell(), threading.Event()
    for _ in range(looking_after.MOST_SINCE):
        bell.ring()

    def ring_once_more() -> None:
        bell.ring()
        rung.set()

    thread = threading.Thread(target=ring_once_more)
    thread.start()
    assert not rung.wait(0.2)
    bell.heard()
    assert rung.wait(5)
    thread.join()
    bell.ring()
