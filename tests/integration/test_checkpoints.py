"""Checkpoints: published outside first, kept second, each a continuation of those before it; and the proofs that lead to them."""

import logging
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, text

from aiinfra_core import database, merkle
from aiinfra_core.audit_log import checkpoints, keeping_up
from aiinfra_core.audit_log.checkpoints import Published, checkpoint
from aiinfra_core.audit_log.sequence import waiting
from aiinfra_core.errors import EvidenceBroken, Misconfigured, NotFound, Unavailable
from aiinfra_core.evidence import checkpoint as notes
from aiinfra_core.evidence import log_proof
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_checkpoints, audit_events
from aiinfra_core.registry import jobs
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.factories import training_spec
from tests.simulators.long_log import BEGAN, fill
from tests.simulators.s3_servers import aws_credentials, moto_endpoint, s3_client
from tests.simulators.scripted_server import unused_url

__all__ = ["aws_credentials", "moto_endpoint"]

FOLDER = "checkpoints/ai-infra.local_audit"


def _made(settings: Settings, events: int = 0) -> Published:
    if events:
        fill(settings, events, audit_signer(settings))
    made = checkpoint(settings, audit_signer(settings))
    assert made is not None
    return made


def _kept(settings: Settings) -> list[Any]:
    with database.transaction(settings) as tx:
        return list(tx.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size)).all())


def _files(tmp_path: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((tmp_path / "artifacts" / FOLDER).iterdir())}


def _administer(settings: Settings, *statements: str) -> None:
    with database.connection(settings) as connection:
        connection.execute(text("RESET ROLE"))
        for table in ("audit_events", "training_jobs", "audit_tiles", "audit_checkpoints"):
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in statements:
            connection.execute(text(statement))
        connection.commit()


def test_an_empty_log_has_no_checkpoint(settings: Settings) -> None:
    assert checkpoint(settings, audit_signer(settings)) is None


def test_a_checkpoint_commits_to_every_event_outside_and_here(settings: Settings, tmp_path: Path) -> None:
    made = _made(settings, 300)
    with database.transaction(settings) as tx:
        rows = tx.execute(select(audit_events).order_by(audit_events.c.seq)).mappings().all()
        root = merkle.root(merkle.leaf_hash(leaf({str(name): value for name, value in row.items()})) for row in rows)
        assert checkpoints.latest(tx) == made
    read, key = notes.open_checkpoint(made.note, "ai-infra.local/audit", [audit_signer(settings).public_key])
    assert (read.size, read.root, key) == (300, root, audit_signer(settings).public_key)
    assert _files(tmp_path) == {f"{300:020d}": made.note}
    assert list(checkpoints.outside(settings)) == [(300, made.note)]
    (row,) = _kept(settings)
    assert (row.size, row.origin, row.root, bytes(row.note)) == (300, "ai-infra.local/audit", root.hex(), made.note)
    assert row.created_at == rows[-1]["created_at"] == BEGAN + timedelta(milliseconds=299)


def test_without_new_events_nothing_is_published(settings: Settings, tmp_path: Path) -> None:
    made = _made(settings, 5)
    assert _made(settings) == made
    assert (len(_kept(settings)), len(_files(tmp_path))) == (1, 1)


def test_proofs_lead_from_entries_and_older_checkpoints_to_the_newest(settings: Settings) -> None:
    old, new = _made(settings, 70), _made(settings, 230)
    with database.transaction(settings) as tx:
        for seq in (1, 70, 71, 299, 300):
            row = tx.execute(select(audit_events).where(audit_events.c.seq == seq)).mappings().one()
            entry = leaf({str(name): value for name, value in row.items()})
            proof = log_proof.parse(log_proof.write(checkpoints.inclusion(tx, seq, new)))
            assert (proof.index, proof.checkpoint) == (seq - 1, new.note)
            log_proof.verify(proof, entry, new.checkpoint)
        path = checkpoints.consistency(tx, old.size, new.size)
        merkle.verify_consistency(old.size, old.checkpoint.root, new.size, new.checkpoint.root, path)
        for seq in (0, 301):
            with pytest.raises(NotFound):
                checkpoints.inclusion(tx, seq, new)


def test_a_kill_at_any_call_to_the_database_and_a_rerun_leave_the_same_checkpoint(settings: Settings, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    fill(settings, 300, audit_signer(settings))
    calls, at = 0, 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed

    event.listen(Engine, "before_cursor_execute", count)
    try:
        for _ in range(50):
            calls, at = 0, at + 1
            try:
                _made(settings)
                break
            except Killed:
                database.close_connections()
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert at > 5
    (row,) = _kept(settings)
    assert _files(tmp_path) == {f"{300:020d}": bytes(row.note)}
    assert _made(settings).checkpoint.root == bytes.fromhex(row.root)


def test_a_checkpoint_published_by_one_who_died_before_keeping_it_is_kept_even_after_the_key_changed(settings: Settings) -> None:
    made = _made(settings, 10)
    _administer(settings, "DELETE FROM audit_checkpoints")
    assert _made(settings) == made
    _administer(settings, "DELETE FROM audit_checkpoints")
    other = local.from_base64(local.generate())
    again = checkpoint(settings, other)
    assert again == made


def test_a_forged_checkpoint_outside_is_told(settings: Settings, tmp_path: Path) -> None:
    fill(settings, 10, audit_signer(settings))
    place = tmp_path / "artifacts" / FOLDER / f"{10:020d}"
    place.parent.mkdir(parents=True)
    place.write_bytes(notes.sign(notes.Checkpoint("ai-infra.local/audit", 10, bytes(32)), audit_signer(settings)))
    with pytest.raises(EvidenceBroken, match=r"^checkpoint: .* 10 entries"):
        _made(settings)
    assert _kept(settings) == []


def _rewritten(settings: Settings) -> None:
    _administer(settings, "UPDATE audit_events SET signer_id = 'x' WHERE seq = 3", "DELETE FROM audit_tiles")


def _rewritten_with_its_checkpoint(settings: Settings) -> None:
    _rewritten(settings)
    _administer(settings, "DELETE FROM audit_checkpoints")


def _put_back(settings: Settings) -> None:
    _administer(settings, *(f"DELETE FROM {table}" for table in ("audit_events", "training_jobs", "audit_tiles", "audit_checkpoints")))
    fill(settings, 5, audit_signer(settings))


def _cut(settings: Settings) -> None:
    _administer(settings, "DELETE FROM audit_events WHERE seq > 5", "DELETE FROM audit_tiles")


@pytest.mark.parametrize("harm", [_rewritten, _rewritten_with_its_checkpoint, _put_back, _cut])
def test_a_log_that_is_no_continuation_of_what_was_published_gets_no_checkpoint(
    settings: Settings, tmp_path: Path, harm: Callable[[Settings], None]
) -> None:
    _made(settings, 10)
    harm(settings)
    if harm is not _put_back and harm is not _cut:
        fill(settings, 3, audit_signer(settings))
    with pytest.raises(EvidenceBroken, match=r"^checkpoint: "):
        _made(settings)
    assert len(_files(tmp_path)) == 1


@pytest.mark.parametrize("name", ["note.txt", "1", f"{99:020d}"])
def test_what_is_no_checkpoint_among_the_published_ones_is_told(settings: Settings, tmp_path: Path, name: str) -> None:
    made = _made(settings, 10)
    (tmp_path / "artifacts" / FOLDER / name).write_bytes(made.note)
    fill(settings, 1, audit_signer(settings))
    with pytest.raises(EvidenceBroken, match=r"^checkpoint: "):
        _made(settings)


@pytest.mark.parametrize("size", [7, 12, 999])
def test_a_checkpoint_that_nobody_we_trust_signed_stops_nothing_and_is_told(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    _made(settings, 5)
    stranger = local.from_base64(local.generate())
    note = notes.sign(notes.Checkpoint("ai-infra.local/audit", size, bytes(32)), stranger)
    (tmp_path / "artifacts" / FOLDER / f"{size:020d}").write_bytes(note)
    fill(settings, 5, audit_signer(settings))
    assert _made(settings).size == 10
    assert f"published for {size} entries is signed by no key that may" in caplog.text


def test_a_store_that_is_down_leaves_the_events_for_the_next_checkpoint(
    settings: Settings, aws_credentials: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    down = settings.model_copy(update={"checkpoint_root": "s3://bucket/log", "s3_endpoint_url": unused_url()})
    fill(settings, 10, audit_signer(settings))
    with pytest.raises(Unavailable):
        checkpoint(down, audit_signer(settings))
    assert _kept(settings) == []
    keeping_up.publish(down)
    assert "have no checkpoint yet" in caplog.text
    assert _made(settings).size == 10


def test_a_checkpoint_in_a_locking_bucket_is_locked(settings: Settings, aws_credentials: None, moto_endpoint: str) -> None:
    client = s3_client(moto_endpoint)
    client.create_bucket(Bucket="checkpoints-locked", ObjectLockEnabledForBucket=True)
    values = {"checkpoint_root": "s3://checkpoints-locked/log", "s3_endpoint_url": moto_endpoint, "checkpoint_lock_days": 3650}
    there = settings.model_copy(update=values)
    made = _made(there, 10)
    name = f"log/{FOLDER}/{10:020d}"
    assert client.head_object(Bucket="checkpoints-locked", Key=name)["ObjectLockMode"] == "COMPLIANCE"
    client.delete_object(Bucket="checkpoints-locked", Key=name)
    assert list(checkpoints.outside(there)) == [(10, made.note)]
    fill(settings, 1, audit_signer(settings))
    with pytest.raises(Misconfigured, match="Object Lock"):
        checkpoint(settings.model_copy(update={"checkpoint_lock_days": 3650, "log_origin": "other"}), audit_signer(settings))


def test_of_many_at_once_one_publishes(settings: Settings) -> None:
    fill(settings, 10, audit_signer(settings))
    with database.advisory_lock(settings, checkpoints._LOCK_KEY):
        assert checkpoint(settings, audit_signer(settings), wait=False) is None
    assert _made(settings).size == 10


def _request(settings: Settings, number: int) -> None:
    with database.transaction(settings) as tx:
        spec = training_spec(f"/code@{'a' * 40}", seed=number)
        jobs.request(tx, spec, requested_by="tess", request_id=f"r{number}", at=BEGAN)


def test_a_process_that_writes_for_long_publishes_now_and_then(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr("aiinfra_core.audit_log.keeping_up.time.monotonic", lambda: clock)
    sizes = []
    for number in range(6):
        _request(settings, number)
        keeping_up.keep_up(settings)
        sizes.append([row.size for row in _kept(settings)])
        clock += 12
    assert sizes == [[], [], [], [4], [4], [4]]
    keeping_up.at_the_end()
    assert [row.size for row in _kept(settings)] == [4, 6]
    keeping_up.at_the_end()
    with database.transaction(settings) as tx:
        assert waiting(tx) == 0


def test_keeping_up_tells_broken_evidence_in_the_log_and_publishing_raises_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    _made(settings, 10)
    shutil.copy(tmp_path / "artifacts" / FOLDER / f"{10:020d}", tmp_path / "artifacts" / FOLDER / f"{99:020d}")
    clock = 1000.0
    monkeypatch.setattr("aiinfra_core.audit_log.keeping_up.time.monotonic", lambda: clock)
    keeping_up.keep_up(settings)
    clock += 60
    _request(settings, 1)
    keeping_up.keep_up(settings)
    assert "No checkpoint could be published: checkpoint:" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR
    with pytest.raises(EvidenceBroken):
        keeping_up.publish(settings)
