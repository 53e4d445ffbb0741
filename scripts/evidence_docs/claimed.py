"""What is claimed in the small story of `examples`: each function returns the bytes of one statement."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import Artifact, DigestKind, EvaluationKind
from aiinfra_core.domain.rollout import Action
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.evidence import confirmations, custody, rollouts, statements
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.signing import local

SEED_B64 = base64.b64encode(bytes(range(32))).decode()
SIGNER = local.from_base64(SEED_B64, "example")
ORIGIN = "example.com/ai-infra"
BYTES = b"rainfall 1\n"
START = datetime(2026, 3, 1, 9, tzinfo=UTC)
FIRST = Subject("rainfall", DigestKind.FILE, sha256_hex(BYTES))
SECOND = Subject("rainfall", DigestKind.FILE, sha256_hex(b"rainfall 2\n"))
ISSUER = "https://login.example.com"
RECORD = sha256_hex(b"training.json of rainfall:1")


def training() -> bytes:
    """State how rainfall:1 was trained."""
    spec = TrainingSpec(
        model="rainfall",
        code_ref=f"https://git.example.com/rain.git@{'c0ffee' * 6}c0de",
        container_digest=f"sha256:{sha256_hex(b'container')}",
        entry_point="train.py",
        hyperparams={"depth": 3},
        dataset_refs=(DatasetRef(name="days", uri="https://data.example.com/days.csv", sha256=sha256_hex(b"days")),),
        seed=7,
    )
    return statements.training(
        job_id=id_of("job"), spec=spec, subject=FIRST, training_record_sha256=RECORD, started_at=at(0), finished_at=at(10)
    )


def registration(training: str) -> bytes:
    """State that it was registered."""
    return statements.registration(
        artifact_id=id_of("artifact"),
        model="rainfall",
        subject=FIRST,
        artifact_uri="s3://models/artifacts/rainfall.model",
        metadata={},
        registered_by="ada",
        registered_at=at(11),
        training_job_id=id_of("job"),
        training_attestation=training,
    )


def evaluation(quality: float, minutes: int, data: str, spec_digest: str | None = None) -> bytes:
    """State how it scored."""
    return statements.evaluation(
        artifact_id=id_of("artifact"),
        model="rainfall",
        subject=FIRST,
        kind=EvaluationKind.MEASURED,
        metrics={"quality": quality},
        evaluation_digest=sha256_hex(b"evaluation of rainfall:1" + (b" on held-out days" if spec_digest else b"")),
        recorded_by="ada",
        evaluated_at=at(minutes),
        datasets={data: sha256_hex(b"held-out days" if spec_digest else b"days")},
        spec_digest=spec_digest,
    )


def scan() -> bytes:
    """State what was found in it."""
    return confirmations.scan(
        artifact_id=id_of("artifact"),
        model="rainfall",
        subject=FIRST,
        scanner="picklescan 1.0.4",
        verdict="safe",
        findings_digest=sha256_hex(b"findings"),
        scanned_by="ada",
        scanned_at=at(11),
    )


def reproduction(training: str) -> bytes:
    """State that it was trained again."""
    return confirmations.reproduction(
        artifact_id=id_of("artifact"),
        model="rainfall",
        subject=FIRST,
        training_attestation=training,
        outcome="identical",
        reproduced_checksum=FIRST.checksum,
        report_digest=sha256_hex(b"report"),
        reproduced_by="grace",
        started_at=at(20),
        finished_at=at(30),
    )


def promotion(sequence: int, subject: Subject, follows: str | None, inputs: Sequence[str]) -> bytes:
    """State that a version may become current."""
    return statements.promotion(
        promotion_id=id_of(f"promotion {sequence}"),
        model="rainfall",
        version=1 if subject is FIRST else 2,
        environment="prod",
        subject=subject,
        sequence=sequence,
        follows=follows,
        requested_by="ada",
        policy_uri="urn:ai-infra:policy:local:sentinel-allow",
        policy_digest=sha256_hex(b"policy"),
        input_attestations=inputs,
        verified_at=at(40 + sequence),
        replaces=id_of("promotion 2") if sequence == 3 else None,
        rollout_digest=sha256_hex(b"rollout of rainfall:2") if sequence == 2 else None,
        approvals_required={"ml-lead": 1, "security": 1} if sequence < 3 else None,
    )


def agreed(manifest: str, approver: str) -> dict[str, Any]:
    """Return what two people agree to."""
    return {
        "promotion_id": id_of("promotion 1"),
        "model": "rainfall",
        "environment": "prod",
        "subject": FIRST,
        "manifest": manifest,
        "approver": approver,
        "approved_at": at(41),
        "expires_at": at(41) + timedelta(days=7),
    }


def approval(manifest: str) -> bytes:
    """State that somebody agrees by a key of theirs."""
    return confirmations.approval(**agreed(manifest, "grace"))


def vouched_approval(manifest: str) -> bytes:
    """State that somebody agrees who is vouched for."""
    return confirmations.vouched_approval(**agreed(manifest, "lin"), roles=["ml-lead"], issuer=ISSUER)


def withdrawal(manifest: str, approval: str, issuer: str | None) -> bytes:
    """State that an approval is taken back."""
    return confirmations.withdrawal(
        approval=approval,
        promotion_id=id_of("promotion 2"),
        model="rainfall",
        environment="prod",
        subject=SECOND,
        manifest=manifest,
        withdrawn_by="lin" if issuer else "grace",
        withdrawn_at=at(42),
        issuer=issuer,
    )


def routing(champion: str, challenger: str) -> bytes:
    """State where traffic goes while rainfall:2 is rolled out."""
    split = rollouts.Split(rollout_id=id_of("rollout"), step=0, weight=500, salt="rainfall-prod-2", unit=Unit.USER)
    return rollouts.routing(
        environment="prod",
        sequence=1,
        changes=1,
        champion=(artifact(1, FIRST), champion),
        challenger=(artifact(2, SECOND), challenger),
        split=split,
        issued_at=at(41),
        expires_at=at(51),
    )


def artifact(version: int, subject: Subject) -> Artifact:
    """Return a version as a record."""
    return Artifact(
        id=id_of("artifact" if version == 1 else f"artifact {version}"),
        model="rainfall",
        version=version,
        training_job_id=None,
        artifact_uri=f"s3://models/artifacts/rainfall{'' if version == 1 else f'-{version}'}.model",
        digest_kind=subject.digest_kind,
        checksum=subject.checksum,
        size_bytes=11,
        metadata={},
        manifest_signature_id=None,
        signer_id=SIGNER.signer_id,
        signature="",
        attestation=sha256_hex(b"registration"),
        registered_by="ada",
        created_at=at(11),
    )


def order(manifest: str) -> bytes:
    """State that somebody pauses it."""
    return rollouts.order(
        rollout_id=id_of("rollout"),
        model="rainfall",
        environment="prod",
        subject=SECOND,
        manifest=manifest,
        action=Action.PAUSE,
        step=0,
        reason="a load test is on",
        ordered_by="grace",
        ordered_at=at(42),
    )


def export(head: Checkpoint, current: tuple[int, str]) -> bytes:
    """State what was exported."""
    return custody.export(
        artifact_id=id_of("artifact"),
        model="rainfall",
        version=1,
        environment="prod",
        subject=FIRST,
        current=current,
        head=head,
        files=sha256_hex(b"FILES.SHA256"),
        exported_by="ada",
        exported_at=at(60),
    )


def imported() -> bytes:
    """State that a record came from elsewhere."""
    return custody.imported(
        source="https://old.example.com",
        kind="artifact",
        original_id="7",
        document='{"artifactUri":"s3://models/artifacts/rainfall.model","id":"7"}',
        artifact_id=id_of("artifact"),
        outcome="registered as rainfall:1",
        imported_by="ada",
        imported_at=at(11),
    )


def tombstone() -> bytes:
    """State that bytes were removed."""
    return custody.tombstone(
        artifact_id=id_of("artifact 2"),
        model="rainfall",
        version=2,
        subject=SECOND,
        artifact_uri="s3://models/artifacts/rainfall-2.model",
        reason="nobody goes back to it",
        rule={"olderThanDays": 90, "keepLast": 1, "rollbackTargets": 2},
        pruned_by="ada",
        pruned_at=at(70),
    )


def at(minutes: int) -> datetime:
    """Return a time in the story."""
    return START + timedelta(minutes=minutes)


def id_of(name: str) -> UUID:
    """Return an id in the story."""
    return uuid5(NAMESPACE_URL, f"https://example.com/ai-infra/{name}")
