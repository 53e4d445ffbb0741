"""One builder per claim about what was stated before: reproduction, scan, approval and its withdrawal. Each returns the bytes to sign.

Claims about a model's own way (training, registration, evaluation, promotion) are in `statements`, about keeping (export, import,
tombstone) in `custody`; the frame in `statement`, the shapes in `confirmation_predicates`, signing in `dsse`.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import predicates as shapes
from aiinfra_core.evidence.confirmation_predicates import ReproductionOutcome, ScanVerdict
from aiinfra_core.evidence.statement import Subject, signable, timestamp, write

_EXPIRES_FIRST = "An approval cannot expire before it is given."


def reproduction(
    *,
    artifact_id: UUID,
    model: str,
    subject: Subject,
    training_attestation: str,
    outcome: ReproductionOutcome,
    reproduced_checksum: str | None,
    report_digest: str,
    reproduced_by: str,
    started_at: datetime,
    finished_at: datetime,
) -> bytes:
    """State what came out when a training was run again from its provenance.

    Args:
        artifact_id: the artifact that was to come out again.
        model: its model's name.
        subject: its bytes, as they were registered.
        training_attestation: digest of the provenance that was followed.
        outcome: how what came out compares with the subject.
        reproduced_checksum: hex digest of what came out, of the subject's kind; None when nothing did.
        report_digest: hex SHA-256 of the comparison file by file.
        reproduced_by: who ran it.
        started_at: when the run began.
        finished_at: when it ended.

    Raises:
        BadInput: the outcome contradicts the checksums or the times, the statement would be too long to sign, or a value is not what
            it must be.
    """
    _check_outcome(outcome, subject.checksum, reproduced_checksum)
    _check_order(started_at, finished_at, "A run cannot end before it began.")
    predicate = {
        "artifactId": str(artifact_id),
        "model": model,
        "trainingAttestation": training_attestation,
        "outcome": outcome,
        "reproducedChecksum": reproduced_checksum,
        "reportDigest": report_digest,
        "reproducedBy": reproduced_by,
        "startedOn": timestamp(started_at),
        "finishedOn": timestamp(finished_at),
    }
    return signable(write(subject, shapes.REPRODUCTION, predicate))


def approval(
    *,
    promotion_id: UUID,
    model: str,
    environment: str,
    subject: Subject,
    manifest: str,
    approver: str,
    approved_at: datetime,
    expires_at: datetime,
) -> bytes:
    """State that somebody agrees to one exact promotion manifest.

    Args:
        promotion_id: the promotion.
        model: the model's name.
        environment: where it would become current.
        subject: the artifact's bytes.
        manifest: digest of the promotion manifest.
        approver: who agrees.
        approved_at: when.
        expires_at: from when on the promotion can no longer be applied on this approval.

    Raises:
        BadInput: it expires before it is given, the statement would be too long to sign, or a value is not what it must be.
    """
    _check_order(approved_at, expires_at, _EXPIRES_FIRST)
    agreed = _agreed(promotion_id, model, environment, manifest, approver, approved_at, expires_at)
    return signable(write(subject, shapes.APPROVAL, agreed))


def vouched_approval(
    *,
    promotion_id: UUID,
    model: str,
    environment: str,
    subject: Subject,
    manifest: str,
    approver: str,
    approved_at: datetime,
    expires_at: datetime,
    roles: Sequence[str],
    issuer: str,
) -> bytes:
    """State that somebody whom an identity provider named agrees to one exact promotion manifest.

    Args:
        promotion_id: the promotion.
        model: the model's name.
        environment: where it would become current.
        subject: the artifact's bytes.
        manifest: digest of the promotion manifest.
        approver: who agrees.
        approved_at: when.
        expires_at: from when on the promotion can no longer be applied on this approval.
        roles: which roles they had when they agreed.
        issuer: who named them, such as the address of the identity provider.

    Raises:
        BadInput: as `approval`.
    """
    _check_order(approved_at, expires_at, _EXPIRES_FIRST)
    agreed = _agreed(promotion_id, model, environment, manifest, approver, approved_at, expires_at)
    return signable(write(subject, shapes.VOUCHED_APPROVAL, {**agreed, "roles": sorted(roles), "issuer": issuer}))


def withdrawal(
    *,
    approval: str,
    promotion_id: UUID,
    model: str,
    environment: str,
    subject: Subject,
    manifest: str,
    withdrawn_by: str,
    withdrawn_at: datetime,
    issuer: str | None = None,
) -> bytes:
    """State that somebody takes back an approval of theirs.

    Args:
        approval: digest of the approval's statement.
        promotion_id: the promotion.
        model: the model's name.
        environment: where it would become current.
        subject: the artifact's bytes.
        manifest: digest of the promotion manifest that had been agreed to.
        withdrawn_by: who takes it back.
        withdrawn_at: when.
        issuer: who named them, where they do not sign it with a key of theirs.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    predicate = {
        "approval": approval,
        "promotionId": str(promotion_id),
        "model": model,
        "environment": environment,
        "manifest": manifest,
        "withdrawnBy": withdrawn_by,
        "withdrawnAt": timestamp(withdrawn_at),
    }
    if issuer is None:
        return signable(write(subject, shapes.WITHDRAWAL, predicate))
    return signable(write(subject, shapes.VOUCHED_WITHDRAWAL, {**predicate, "issuer": issuer}))


def scan(
    *,
    artifact_id: UUID,
    model: str,
    subject: Subject,
    scanner: str,
    verdict: ScanVerdict,
    findings_digest: str,
    scanned_by: str,
    scanned_at: datetime,
) -> bytes:
    """State whether loading an artifact would run code that somebody put into it.

    Args:
        artifact_id: the artifact.
        model: its model's name.
        subject: its bytes.
        scanner: what looked, with its version.
        verdict: the worst of what was found in its files.
        findings_digest: hex SHA-256 of what was found file by file.
        scanned_by: who asked for it.
        scanned_at: when.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    predicate = {
        "artifactId": str(artifact_id),
        "model": model,
        "scanner": scanner,
        "verdict": verdict,
        "findingsDigest": findings_digest,
        "scannedBy": scanned_by,
        "scannedAt": timestamp(scanned_at),
    }
    return signable(write(subject, shapes.SCAN, predicate))


def _agreed(
    promotion_id: UUID, model: str, environment: str, manifest: str, approver: str, approved_at: datetime, expires_at: datetime
) -> dict[str, str]:
    return {
        "promotionId": str(promotion_id),
        "model": model,
        "environment": environment,
        "manifest": manifest,
        "approver": approver,
        "approvedAt": timestamp(approved_at),
        "expiresAt": timestamp(expires_at),
    }


def _check_outcome(outcome: ReproductionOutcome, registered: str, reproduced: str | None) -> None:
    if (reproduced is None) != (outcome == "failed"):
        raise BadInput("A reproduction has a checksum of what came out, unless it failed.")
    if (reproduced == registered) != (outcome == "identical"):
        raise BadInput("A reproduction is identical if the checksums are equal, and only then.")


def _check_order(earlier: datetime, later: datetime, problem: str) -> None:
    if timestamp(earlier) > timestamp(later):
        raise BadInput(problem)
