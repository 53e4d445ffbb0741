"""Bytes nobody may use any more are removed, with a signed tombstone; whatever somebody may want stays."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from aiinfra_core import artifact_store, database, promoting, pruning, registering, verifying
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.domain.tombstone import RetentionRule, Tombstone
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import dossier, promotion_moves, tombstones
from aiinfra_core.settings import Settings
from aiinfra_core.tables import artifact_tombstones, model_artifacts

NONE_KEPT = RetentionRule(older_than_days=0, keep_last=0)


def registered(settings: Settings, name: str, model: str = "rainfall", **more: object) -> Artifact:
    """Store and register a small file; the same name is the same place."""
    source = settings.home / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(name.encode())
    stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{name}")
    fields = {"model": model, "artifact_uri": stored.uri, "checksum": stored.checksum, "registered_by": "rita"}
    return registering.register(settings, RegistrationRequest(**{**fields, **more}))


def promoted(settings: Settings, artifact: Artifact, environment: str = "prod", quality: float = 0.9) -> Promotion:
    asked = PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": quality}, requested_by="paul")
    return promoting.promote(settings, asked)


def path_of(artifact: Artifact) -> Path:
    return Path(artifact.artifact_uri.removeprefix("file://"))


def pruned(settings: Settings, rule: RetentionRule = NONE_KEPT, model: str | None = None) -> list[str]:
    """Prune, and return what was removed as MODEL:VERSION."""
    done = pruning.prune(settings, rule, pruning.plan(settings, rule, model), pruned_by="olga", reason=None)
    return [f"{one.model}:{one.version}" for it in done if it.removed for one in it.together.artifacts]


def found(settings: Settings) -> list[str]:
    return [f"{finding.place}: {finding.problem}" for finding in verifying.verify_history(settings).findings]


def test_what_is_current_what_was_before_it_and_the_newest_versions_stay(settings: Settings) -> None:
    versions = [registered(settings, f"v{number}") for number in range(1, 8)]
    for one in versions[:4]:
        promoted(settings, one)
    promoted(settings, versions[0], "staging")
    assert pruned(settings, RetentionRule(older_than_days=0, keep_last=1)) == ["rainfall:2", "rainfall:5", "rainfall:6"]
    assert [path_of(one).exists() for one in versions] == [True, False, True, True, False, False, True]
    assert pruned(settings, RetentionRule(older_than_days=0, keep_last=0, rollback_targets=1)) == ["rainfall:3", "rainfall:7"]
    assert pruned(settings) == []
    assert found(settings) == []


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


def test_the_same_bytes_can_be_registered_again_once_they_are_back_and_then_stay(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    pruned(settings)
    with pytest.raises(BadInput):
        registering.register(
            settings,
            RegistrationRequest(
                model="rainfall", artifact_uri=artifact.artifact_uri, checksum=artifact.checksum, registered_by="rita", request_id="again"
            ),
        )
    again = registered(settings, "v1", request_id="again")
    assert again.version == 2
    assert pruning.finish(settings) == 0
    assert path_of(again).exists()
    assert promoted(settings, again).status is PromotionStatus.APPLIED


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
    assert found(settings) == []


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


# Promotions and tombstones race: whoever comes first is seen by the other.


def test_a_promotion_asked_for_before_the_lock_keeps_the_bytes(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    planned = pruning.plan(settings, NONE_KEPT)
    done: list[pruning.Pruned] = []
    pruner = threading.Thread(
        target=lambda: done.extend(pruning.prune(settings, NONE_KEPT, planned, pruned_by="olga", reason=None)), name="pruner"
    )
    with database.transaction(settings) as tx:
        candidate = dossier.candidate(tx, str(artifact.id), "prod")
        promotion_moves.request(
            tx,
            artifact=candidate.artifact,
            environment="prod",
            evaluation=None,
            replaces=candidate.replaces,
            requested_by="paul",
            asked_by="paul",
            request_id="open",
            at=datetime.now(UTC),
        )
        pruner.start()
        _wait_until_somebody_waits(settings)
        assert done == []
    pruner.join()
    assert [(one.removed, one.stays) for one in done] == [(None, "somebody wants it by now")]
    assert path_of(artifact).exists()


def test_a_promotion_asked_for_after_the_lock_is_told_that_it_was_pruned_though_the_bytes_are_still_there(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    outcome: list[Promotion] = []
    promoter = threading.Thread(target=lambda: outcome.append(promoted(settings, artifact)), name="promoter")
    signed = _signed(settings, artifact)
    with database.transaction(settings) as tx:
        assert tombstones.bury(tx, [signed], NONE_KEPT, datetime.now(UTC))
        promoter.start()
        _wait_until_somebody_waits(settings)
        assert outcome == []
    promoter.join()
    assert path_of(artifact).exists()
    assert outcome[0].status is PromotionStatus.REJECTED
    assert "was pruned" in (outcome[0].reason or "")
    assert pruning.finish(settings) == 1
    assert not path_of(artifact).exists()
    assert pruning.finish(settings) == 0


def _signed(settings: Settings, artifact: Artifact) -> tuple[Artifact, Tombstone, Attestation]:
    tombstone = Tombstone(
        artifact_id=artifact.id, reason="r", rule=NONE_KEPT, attestation=None, pruned_by="olga", created_at=datetime.now(UTC)
    )
    return artifact, tombstone, attest(claims.of_tombstone(tombstone, artifact), audit_signer(settings))


def _wait_until_somebody_waits(settings: Settings) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while datetime.now(UTC) < deadline:
        with database.autocommit(settings) as connection:
            if connection.execute(waiting).scalar_one():
                return
    raise AssertionError("nobody waits for the lock")


def test_many_promotions_and_prunings_at_once_never_leave_what_is_current_without_its_bytes(settings: Settings) -> None:
    artifacts = [registered(settings, f"v{number}") for number in range(1, 13)]
    rule = RetentionRule(older_than_days=0, keep_last=0, rollback_targets=1)
    start, failed = threading.Barrier(6), list[BaseException]()

    def run(work: list[Artifact]) -> None:
        start.wait()
        try:
            for one in work:
                promoted(settings, one)
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    def prune() -> None:
        start.wait()
        for _ in range(4):
            pruned(settings, rule)

    threads = [threading.Thread(target=run, args=(artifacts[part::4],)) for part in range(4)]
    threads += [threading.Thread(target=prune) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with database.snapshot(settings) as tx:
        current = dossier.candidate(tx, "rainfall@prod", "prod").artifact
        assert tombstones.of_artifact(tx, current.id) is None
        buried = {row for (row,) in tx.execute(select(artifact_tombstones.c.artifact_id))}
    assert {one.id for one in artifacts if not path_of(one).exists()} == buried
    assert buried
    assert found(settings) == []
