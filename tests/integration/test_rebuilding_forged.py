"""An archive rewritten by somebody who holds the log's key, or another: what was published, and whom one trusts, still finds it."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import database, rebuilding
from aiinfra_core.audit_log.delivering.archive import key_of_value
from aiinfra_core.domain.trust import Compromise, Purpose, Trust
from aiinfra_core.errors import Conflict, NotFound
from aiinfra_core.evidence import dsse
from aiinfra_core.evidence.checkpoint import Checkpoint, sign
from aiinfra_core.keys import audit_signer, trust_of
from aiinfra_core.signing import local
from aiinfra_core.signing.signer import Signer
from tests.simulators.archive_forger import Payload, entries, key_in, overwrite, put_value, read, rewrite
from tests.simulators.lost_database import Lost, ask, lost, publish, refusal

__all__ = ["lost"]


@pytest.fixture
def signer(lost: Lost) -> Signer:
    return audit_signer(lost.before)


@pytest.fixture
def stranger() -> Signer:
    return local.from_base64(local.generate(), "test")


def _unchanged(_: list[Payload]) -> None:
    pass


def _actor_changed(payloads: list[Payload]) -> None:
    payloads[2]["actor"] = "mallory"


def test_a_log_rewritten_with_a_strangers_key_is_refused_at_its_first_entry(lost: Lost, stranger: Signer) -> None:
    rewrite(lost.archive, stranger, _unchanged)
    said = refusal(lost, lost.archive)
    assert said.startswith(key_in(lost.archive, entries(lost.archive)[0]))
    assert "verifies with no trusted key" in said


def test_a_log_rewritten_with_the_right_key_is_refused_by_what_was_published(lost: Lost, signer: Signer) -> None:
    rewrite(lost.archive, signer, _actor_changed)
    count = len(lost.entries())
    assert refusal(lost, lost.archive).startswith(f"checkpoint {count}: its root is not that of the {count} events in the archive")


@pytest.mark.slow
def test_a_signature_under_another_name_is_refused(lost: Lost, signer: Signer) -> None:
    rewrite(lost.archive, signer, _unchanged, {"signer_id": "somebody"})
    assert "it was signed by test and says somebody" in refusal(lost, lost.archive)


def _trusting(lost: Lost, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    (key,) = trust_of(lost.before).keys
    trust = Trust(keys=(key.model_copy(update=changes),), logs=(lost.before.log_origin,))
    monkeypatch.setattr(rebuilding, "trust_of", lambda _: trust)


def test_nothing_that_a_stolen_key_signed_gets_in(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    at = len(lost.entries()) // 3
    _trusting(lost, monkeypatch, compromise=Compromise(reported_at=datetime.now(UTC), reason="stolen", bad_from_index=at))
    said = refusal(lost, lost.archive)
    assert said.startswith(key_in(lost.archive, lost.entries()[at]))
    assert f"is compromised from log entry {at} on" in said


@pytest.mark.slow
def test_a_key_signs_only_in_its_time_and_for_its_purposes(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    at = len(lost.entries()) // 2
    ended = datetime.fromisoformat(read(lost.entries()[at])["created_at"])
    _trusting(lost, monkeypatch, valid_until=ended)
    assert refusal(lost, lost.archive).startswith(key_in(lost.archive, lost.entries()[at]))
    _trusting(lost, monkeypatch, purposes=(Purpose.AUDIT, Purpose.ARTIFACT, Purpose.EVALUATION))
    promoted = next(path for path in lost.entries() if read(path)["event_type"] == "promotion.approved")
    said = refusal(lost, lost.archive)
    assert said.startswith(key_in(lost.archive, promoted))
    assert "not trusted here" in said
    _trusting(lost, monkeypatch, purposes=(Purpose.PROMOTION,))
    assert refusal(lost, lost.archive).startswith(key_in(lost.archive, lost.entries()[0]))


def _index(payloads: list[Payload], event_type: str) -> int:
    return next(number for number, payload in enumerate(payloads) if payload["type"] == event_type)


Forgery = Callable[[Path, list[Payload], Signer], int]
"""Changes payloads of a log (and values in its archive) and returns the number of the event that must be named."""


def _signed_by_a_stranger(archive: Path, payloads: list[Payload], stranger: Signer) -> int:
    place = _index(payloads, "artifact.registered")
    row = payloads[place]["rows"]["attestations"]
    statement = dsse.parse((archive / key_of_value(row["envelope"]["sha256"])).read_bytes()).payload
    row["envelope"] = put_value(archive, dsse.sign(statement, stranger))
    return place


def _of_another_statement(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = _index(payloads, "artifact.registered")
    payloads[place]["rows"]["attestations"]["digest"] = "ab" * 32
    return place


def _another_seed_later(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = _index(payloads, "training.completed")
    payloads[place]["rows"]["training_jobs"]["seed"] += 1
    return place


def _a_job_nobody_asked_for(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = _index(payloads, "artifact.registered")
    payloads[place]["rows"]["model_artifacts"]["training_job_id"] = "00000000-0000-4000-8000-000000000000"
    return place


def _a_manifest_nobody_signed(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = _index(payloads, "promotion.approved")
    payloads[place]["rows"]["model_promotions"]["manifest"] = "ab" * 32
    return place


def _a_jump_of_the_pointer(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = max(number for number, payload in enumerate(payloads) if payload["type"] == "promotion.applied")
    payloads[place]["rows"]["environment_pointers"]["sequence"] += 5
    return place


def _a_foreign_table(_: Path, payloads: list[Payload], __: Signer) -> int:
    payloads[3]["rows"]["pg_authid"] = {"rolname": "mallory"}
    return 3


def _in_the_first_job(**columns: Any) -> Forgery:
    def change(_: Path, payloads: list[Payload], __: Signer) -> int:
        payloads[0]["rows"]["training_jobs"] |= columns
        return 0

    return change


FORGERIES: list[tuple[Forgery, str]] = [
    (_signed_by_a_stranger, "which is not trusted here"),
    (_of_another_statement, "its row says something else than its envelope"),
    (_another_seed_later, "with something else in what never changes"),
    (_a_job_nobody_asked_for, "the database refuses the rows it tells of (ForeignKeyViolation)"),
    (_a_manifest_nobody_signed, "the database refuses the rows it tells of (ForeignKeyViolation)"),
    (_a_jump_of_the_pointer, "the database refuses the rows it tells of (CheckViolation)"),
    (_a_foreign_table, "not of tables that a registry has"),
    (_in_the_first_job(zz=1), "has other columns than the table"),
    (_in_the_first_job(created_at="yesterday"), "holds what no row can"),
    (_in_the_first_job(created_at="2026-01-01T00:00:00+00:00"), "not written the one way"),
    (_in_the_first_job(seed="many"), "the database refuses the rows it tells of"),
    (_in_the_first_job(status="finished"), "the database refuses the rows it tells of (CheckViolation)"),
    (_in_the_first_job(model=None), "the database refuses the rows it tells of (NotNullViolation)"),
    (_in_the_first_job(model={"sha256": "x", "size": 1}), "holds what no row can"),
]


def test_even_with_the_logs_key_no_statement_of_a_stranger_and_no_impossible_row_gets_in(
    lost: Lost, tmp_path: Path, signer: Signer, stranger: Signer
) -> None:
    for number, (forgery, says) in enumerate(FORGERIES):
        archive, places = tmp_path / f"forged-{number}", list[int]()
        shutil.copytree(lost.archive, archive)
        rewrite(archive, signer, partial(_forge, forgery, archive, stranger, places))
        said = refusal(lost, archive)
        assert said.startswith(key_in(archive, entries(archive)[places[0]])), said
        assert says in said


def _forge(forgery: Forgery, archive: Path, stranger: Signer, places: list[int], payloads: list[Payload]) -> None:
    places.append(forgery(archive, payloads, stranger))


@pytest.mark.slow
def test_a_checkpoint_somebody_kept_finds_what_the_published_ones_no_longer_show(lost: Lost, signer: Signer) -> None:
    ask(lost.before, "rainfall:2", "staging", 0.97)
    later = publish(lost.before)
    for path in _published(lost)[1:]:
        path.unlink()
    count = len(lost.entries())
    said = refusal(lost, lost.archive, seen=later)
    assert said.startswith("the checkpoint given: it covers ")
    assert f"the archive has {count}" in said
    other = sign(Checkpoint(lost.before.log_origin, count, b"x" * 32), signer)
    assert refusal(lost, lost.archive, seen=other).startswith("the checkpoint given: its root is not")
    assert refusal(lost, lost.archive, seen=b"nonsense").startswith("the checkpoint given: ")


def _published(lost: Lost) -> list[Path]:
    root = Path(str(lost.before.artifact_root).removeprefix("file://"))
    return sorted((root / "checkpoints").rglob("0*"))


@pytest.mark.slow
def test_checkpoints_that_were_tampered_with_are_found_and_without_any_nothing_is_rebuilt(
    lost: Lost, signer: Signer, stranger: Signer
) -> None:
    (path,) = _published(lost)
    note, count = path.read_bytes(), len(lost.entries())
    of_a_stranger = sign(Checkpoint(lost.before.log_origin, count, b"x" * 32), stranger)
    of_another_log = sign(Checkpoint("other.log/audit", count, b"x" * 32), signer)
    for harm in (note[:-3], b"", note.replace(b"audit\n", b"audit2\n", 1), of_a_stranger, of_another_log):
        overwrite(path, harm)
        assert refusal(lost, lost.archive).startswith(f"checkpoint {count}: "), harm
    overwrite(path, note)
    path.rename(path.with_name(f"{count - 1:020d}"))
    assert refusal(lost, lost.archive).startswith(f"checkpoint {count - 1}: the one published for {count - 1} entries says {count}")
    path.with_name(f"{count - 1:020d}").unlink()
    assert "No checkpoint of the log ai-infra.local/audit is published" in refusal(lost, lost.archive)
    assert rebuilding.rebuild(lost.empty, lost.address, any_checkpoint=False).checkpoints == 0


def test_an_artifact_that_is_gone_or_changed_is_named_unless_it_is_to_be_skipped(lost: Lost) -> None:
    root = Path(str(lost.before.artifact_root).removeprefix("file://"))
    model = next(path for path in root.glob("artifacts/*.model"))
    overwrite(model, b"another model")
    assert refusal(lost, lost.archive).startswith(f"artifact {lost.before.artifact_root}/")
    model.unlink()
    assert refusal(lost, lost.archive).startswith(f"artifact {lost.before.artifact_root}/")
    skipped = rebuilding.rebuild(lost.empty, lost.address, read_artifacts=False)
    assert (skipped.artifacts, skipped.artifacts_not_read) == (0, 7)


def test_a_database_that_is_not_empty_is_left_as_it_is(lost: Lost) -> None:
    with pytest.raises(Conflict, match="there are rows in approval_withdrawals, approvals, artifact_scans, artifact_tombstones, "):
        rebuilding.rebuild(lost.before, lost.address)
    with database.transaction(lost.empty) as tx:
        tx.exec_driver_sql("INSERT INTO models VALUES ('x', 0, now())")
    with pytest.raises(Conflict, match="there are rows in models;"):
        rebuilding.rebuild(lost.empty, lost.address)


def test_a_place_that_is_no_archive_is_not_found(lost: Lost, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no archive"):
        rebuilding.rebuild(lost.empty, (tmp_path / "nowhere").as_uri())
