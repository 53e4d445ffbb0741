"""Bytes nobody may use any more are removed, with a signed tombstone; whatever somebody may want stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from aiinfra_core import artifact_store, database, pruning, registering, verifying
from aiinfra_core.artifact_store import removing
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.tombstone import RetentionRule
from aiinfra_core.errors import BadInput, Conflict, EvidenceBroken
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import tombstones
from aiinfra_core.settings import Settings
from aiinfra_core.tables import artifact_tombstones, model_artifacts
from tests.simulators.pruned_artifacts import (
    NONE_KEPT,
    findings,
    path_of,
    promoted,
    pruned,
    registered,
    request_of,
    signed_tombstone,
)


def test_what_is_current_what_was_before_it_and_the_newest_versions_stay(settings: Settings) -> None:
    versions = [registered(settings, f"v{number}") for number in range(1, 8)]
    for one in versions[:4]:
        promoted(settings, one)
    promoted(settings, versions[0], "staging")
    assert pruned(settings, RetentionRule(older_than_days=0, keep_last=1)) == ["rainfall:2", "rainfall:5", "rainfall:6"]
    assert [path_of(one).exists() for one in versions] == [True, False, True, True, False, False, True]
    assert pruned(settings, RetentionRule(older_than_days=0, keep_last=0, rollback_targets=1)) == ["rainfall:3", "rainfall:7"]
    assert pruned(settings) == []
    assert findings(settings) == []


def test_an_artifact_that_was_applied_again_counts_once_among_those_to_go_back_to(settings: Settings) -> None:
    first, second, third = (registered(settings, name) for name in ("a", "b", "c"))
    for one, quality in ((first, 0.9), (second, 0.9), (third, 0.9), (third, 0.95)):
        assert promoted(settings, one, quality=quality).status is PromotionStatus.APPLIED
    assert pruned(settings) == ["rainfall:1"]
    assert path_of(second).exists()


def test_younger_artifacts_and_other_models_stay(settings: Settings) -> None:
    old, young, other = registered(settings, "old"), registered(settings, "young"), registered(settings, "other", model="snow")
    _made_earlier(settings, old.id, days=31)
    assert pruned(settings, RetentionRule(older_than_days=30, keep_last=0)) == ["rainfall:1"]
    assert path_of(young).exists()
    assert pruned(settings, model="rainfall") == ["rainfall:2"]
    assert path_of(other).exists()


def _made_earlier(settings: Settings, artifact_id: UUID, days: int) -> None:
    with database.transaction(settings) as tx:
        tx.execute(text("RESET ROLE"))
        tx.execute(text("ALTER TABLE model_artifacts DISABLE TRIGGER append_only"))
        earlier = datetime.now(UTC) - timedelta(days=days)
        tx.execute(update(model_artifacts).where(model_artifacts.c.id == artifact_id).values(created_at=earlier))
        tx.execute(text("ALTER TABLE model_artifacts ENABLE TRIGGER append_only"))


def test_bytes_that_a_kept_artifact_shares_holds_or_lies_in_stay(settings: Settings) -> None:
    shared = registered(settings, "shared")
    registered(settings, "shared", model="snow")
    place = artifact_store.location(settings)
    folder = settings.home / "folder"
    folder.mkdir()
    (folder / "part").write_bytes(b"part")
    whole = artifact_store.put(place, folder, "uploads/folder")
    holder = registering.register(
        settings, RegistrationRequest(model="rainfall", artifact_uri=whole.uri, checksum=whole.checksum, registered_by="rita")
    )
    inside = artifact_store.measure(place, f"{whole.uri}/part")
    registering.register(
        settings, RegistrationRequest(model="snow", artifact_uri=inside.uri, checksum=inside.checksum, registered_by="rita")
    )
    assert pruned(settings, model="rainfall") == []
    assert path_of(shared).exists()
    assert path_of(holder).exists()
    assert pruned(settings) == ["rainfall:1", "snow:1"]
    assert not path_of(shared).exists()
    assert path_of(holder).exists()


def test_a_directory_goes_with_its_sums(settings: Settings) -> None:
    folder = settings.home / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "part").write_bytes(b"part")
    stored = artifact_store.put(artifact_store.location(settings), folder, "uploads/folder")
    asked = RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    path = path_of(registering.register(settings, asked))
    assert pruned(settings) == ["rainfall:1"]
    assert list(path.parent.iterdir()) == []


def test_a_promotion_of_what_was_pruned_is_a_recorded_no_that_says_so(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    assert pruned(settings) == ["rainfall:1"]
    refused = promoted(settings, artifact)
    assert refused.status is PromotionStatus.REJECTED
    assert refused.reason is not None
    assert refused.reason.startswith("artifact: rainfall:1 was pruned: bytes removed")
    assert "by olga (older than 0 days" in refused.reason


def test_nothing_is_registered_where_bytes_were_removed_but_the_same_bytes_are_elsewhere(settings: Settings) -> None:
    first = registered(settings, "folder/v1")
    pruned(settings)
    whole = settings.home / "again"
    whole.mkdir()
    (whole / "v1").write_bytes(b"folder/v1")
    for source, key in ((whole / "v1", "folder/v1"), (whole / "v1", "folder/v1/below"), (whole, "folder")):
        stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{key}")
        with pytest.raises(Conflict, match="store these under another key"):
            registering.register(settings, request_of(stored, "snow"))
        removing.remove(artifact_store.location(settings), stored.uri, stored.digest_kind)
        for left in (path_of(first), path_of(first).parent):
            if left.is_dir():
                left.rmdir()
    elsewhere = artifact_store.put(artifact_store.location(settings), whole / "v1", "uploads/folder-2")
    assert registering.register(settings, request_of(elsewhere, "snow")).version == 1


def test_other_bytes_at_a_place_that_was_pruned_stay(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    pruned(settings)
    path_of(artifact).write_bytes(b"somebody else's")
    assert pruning.finish(settings) == 0
    assert path_of(artifact).read_bytes() == b"somebody else's"
    second = registered(settings, "v2")
    path_of(second).write_bytes(b"edited")
    (done,) = pruning.prune(settings, NONE_KEPT, pruning.plan(settings, NONE_KEPT), pruned_by="olga", reason=None)
    assert (done.removed, done.stays) == (None, "other bytes are there")
    assert path_of(second).exists()


def test_a_directory_whose_removal_was_interrupted_is_finished_but_files_without_its_sums_stay(settings: Settings) -> None:
    artifacts = []
    for name in ("one", "two"):
        folder = settings.home / name
        folder.mkdir(parents=True)
        for part in ("a", "b"):
            (folder / part).write_bytes(f"{name}/{part}".encode())
        stored = artifact_store.put(artifact_store.location(settings), folder, f"uploads/{name}")
        artifacts.append(registering.register(settings, request_of(stored)))
    with database.transaction(settings) as tx:
        for one in artifacts:
            assert tombstones.bury(tx, [signed_tombstone(settings, one)], NONE_KEPT, datetime.now(UTC))
    first, second = map(path_of, artifacts)
    (first / "a").unlink()
    second.with_name(second.name + ".SHA256SUMS").unlink()
    assert pruning.finish(settings) == 2
    assert not first.exists()
    assert sorted(path.name for path in second.iterdir()) == ["a", "b"]


def test_the_removal_is_told_once_signed_and_verifies(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    assert pruned(settings) == ["rainfall:1"]
    _, steps = verifying.verify_model(settings, "rainfall:1")
    said = {step.name: (step.passed, step.detail) for step in steps}
    assert said["tombstone"] == (True, "signed by a trusted key, and the rows say the same")
    assert said["bytes"][0] is True
    assert said["bytes"][1].startswith("bytes removed")
    assert all(step.passed for step in steps)
    sequence_pending(settings, audit_signer(settings))
    with database.transaction(settings) as tx:
        assert tx.execute(select(func.count()).where(audit_events.c.event_type == "artifact.pruned")).scalar_one() == 1
        assert tombstones.of_artifact(tx, artifact.id) is not None
    assert findings(settings) == []


@contextmanager
def _edited(settings: Settings, change: str) -> Iterator[None]:
    with database.transaction(settings) as tx:
        tx.execute(text("RESET ROLE"))
        tx.execute(text("ALTER TABLE artifact_tombstones DISABLE TRIGGER USER"))
        tx.execute(text(change))
    yield


def test_bytes_that_are_gone_without_a_tombstone_that_verifies_are_a_finding(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    pruned(settings)
    with _edited(settings, "UPDATE artifact_tombstones SET reason = 'no reason'"):
        _, steps = verifying.verify_model(settings, "rainfall:1")
    assert {step.name for step in steps if not step.passed} == {"history", "tombstone"}
    path_of(artifact).write_bytes(b"v1")
    with pytest.raises(EvidenceBroken, match="nothing was removed"):
        pruning.finish(settings)
    assert path_of(artifact).exists()
    with _edited(settings, "DELETE FROM artifact_tombstones"):
        path_of(artifact).unlink()
        _, steps = verifying.verify_model(settings, "rainfall:1")
    assert {step.name for step in steps if not step.passed} == {"history", "bytes"}


def test_what_is_not_below_an_artifact_root_stays(settings: Settings, tmp_path: Path) -> None:
    artifact = registered(settings, "v1")
    moved = settings.model_copy(update={"artifact_root": (tmp_path / "elsewhere").as_uri()})
    (planned,) = pruning.plan(moved, NONE_KEPT)
    assert planned.stays == "it is not below an artifact root"
    (done,) = pruning.prune(moved, NONE_KEPT, [planned], pruned_by="olga", reason=None)
    assert (done.removed, done.stays) == (None, planned.stays)
    assert path_of(artifact).exists()
    with database.transaction(settings) as tx:
        assert tombstones.of_artifact(tx, artifact.id) is None


def test_a_reason_is_kept_and_a_strange_one_refused(settings: Settings) -> None:
    registered(settings, "v1")
    planned = pruning.plan(settings, NONE_KEPT)
    for strange in ("two\nlines", "x" * 501):
        with pytest.raises(BadInput):
            list(pruning.prune(settings, NONE_KEPT, planned, pruned_by="olga", reason=strange))
    list(pruning.prune(settings, NONE_KEPT, planned, pruned_by="olga", reason="the customer asked for it"))
    with database.transaction(settings) as tx:
        assert tx.execute(select(artifact_tombstones.c.reason)).scalar_one() == "the customer asked for it"
