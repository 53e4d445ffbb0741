"""Whoever prunes, promotes and registers at the same moment: whichever comes first is seen by the others."""

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Connection, select, text

from aiinfra_core import database, pruning, registering
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion, PromotionStatus
from aiinfra_core.domain.tombstone import RetentionRule
from aiinfra_core.errors import ArtifactMissing, Conflict
from aiinfra_core.evidence import claims, statements
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import audit_signer
from aiinfra_core.registry import dossier, promotion_requests, registrations, tombstones
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
    stored_of,
)

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
        promotion_requests.request(
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
    signed = signed_tombstone(settings, artifact)
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


def _wait_until_somebody_waits(settings: Settings) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while datetime.now(UTC) < deadline:
        with database.autocommit(settings) as connection:
            if connection.execute(waiting).scalar_one():
                return
    raise AssertionError("nobody waits for the lock")


# So do registrations of the same bytes, also as another model.


def test_a_registration_that_is_under_way_before_the_lock_keeps_the_bytes(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    planned = pruning.plan(settings, NONE_KEPT)
    done: list[pruning.Pruned] = []
    pruner = threading.Thread(
        target=lambda: done.extend(pruning.prune(settings, NONE_KEPT, planned, pruned_by="olga", reason=None)), name="pruner"
    )
    written, pruned_meanwhile = threading.Event(), threading.Event()

    def register_slowly() -> None:
        with database.transaction(settings) as tx:
            _insert_as(tx, settings, artifact, "snow")
            written.set()
            assert pruned_meanwhile.wait(20)

    slow = threading.Thread(target=register_slowly, name="slow registration")
    slow.start()
    assert written.wait(20)
    pruner.start()
    try:
        _wait_until_somebody_waits(settings)
        assert done == []
    finally:
        pruned_meanwhile.set()
        slow.join()
        pruner.join()
    assert [(one.removed, one.stays) for one in done] == [(None, "somebody wants it by now")]
    assert path_of(artifact).exists()


def _insert_as(tx: Connection, settings: Settings, artifact: Artifact, model: str) -> None:
    """Register the bytes of an artifact as another model, in a transaction that is still open afterwards."""
    stored = stored_of(artifact)
    request, artifact_id, at = request_of(stored, model), uuid4(), datetime.now(UTC)
    payload = statements.registration(
        artifact_id=artifact_id,
        subject=claims.stored_subject(model, stored),
        registered_at=at,
        training_attestation=None,
        **request.model_dump(exclude={"checksum", "request_id"}),
    )
    signed = attest(payload, audit_signer(settings))
    registrations.register(tx, request, artifact_id=artifact_id, request_id="slow", stored=stored, attestation=signed, at=at)


def test_a_registration_that_read_the_bytes_before_the_tombstone_is_refused_after_it(settings: Settings) -> None:
    artifact = registered(settings, "v1")
    outcome: list[object] = []

    def register() -> None:
        try:
            outcome.append(registered(settings, "v1", model="snow"))
        except Conflict as error:
            outcome.append(str(error))

    registrar = threading.Thread(target=register, name="registrar")
    with database.transaction(settings) as tx:
        assert tombstones.bury(tx, [signed_tombstone(settings, artifact)], NONE_KEPT, datetime.now(UTC))
        registrar.start()
        _wait_until_somebody_waits(settings)
        assert outcome == []
    registrar.join()
    assert len(outcome) == 1
    assert "another key" in str(outcome[0])
    assert pruning.finish(settings) == 1
    assert not path_of(artifact).exists()
    assert findings(settings) == []


def _together(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_registrations_and_prunings_at_once_never_leave_a_registered_artifact_without_its_bytes(settings: Settings) -> None:
    artifacts = [registered(settings, f"v{number}") for number in range(1, 13)]
    start, odd = threading.Barrier(5), list[BaseException]()

    def register(model: str) -> None:
        start.wait()
        for one in artifacts:
            try:
                with suppress(Conflict, ArtifactMissing):  # it was pruned
                    registering.register(settings, request_of(stored_of(one), model))
            except BaseException as error:  # noqa: BLE001 - told by the test
                odd.append(error)

    def prune() -> None:
        start.wait()
        for _ in range(3):
            pruned(settings, model="rainfall")

    threads = [threading.Thread(target=register, args=(f"snow-{number}",)) for number in range(3)]
    threads += [threading.Thread(target=prune) for _ in range(2)]
    _together(threads)
    assert odd == []
    with database.snapshot(settings) as tx:
        buried = select(artifact_tombstones.c.artifact_id)
        kept = list(tx.execute(select(model_artifacts.c.artifact_uri).where(model_artifacts.c.id.not_in(buried))).scalars())
        gone = list(tx.execute(select(model_artifacts.c.artifact_uri).where(model_artifacts.c.id.in_(buried))).scalars())
    assert all(Path(uri.removeprefix("file://")).exists() for uri in kept)
    assert not any(Path(uri.removeprefix("file://")).exists() for uri in gone)
    assert len(set(kept)) + len(gone) == len(artifacts)


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
    _together(threads)
    assert failed == []
    with database.snapshot(settings) as tx:
        current = dossier.candidate(tx, "rainfall@prod", "prod").artifact
        assert tombstones.of_artifact(tx, current.id) is None
        buried = {row for (row,) in tx.execute(select(artifact_tombstones.c.artifact_id))}
    assert {one.id for one in artifacts if not path_of(one).exists()} == buried
    assert buried
    assert findings(settings) == []
