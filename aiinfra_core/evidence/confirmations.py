"""One builder per claim about what was stated before: reproduction, approval, export, import, tombstone. Each returns the bytes to sign.

Claims about a model's own way (training, registration, evaluation, promotion) are in `statements`; the frame in `statement`, the shapes
in `predicates`, signing in `dsse`.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import predicates as shapes
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.statement import Subject, signable, timestamp, write


def reproduction(
    *,
    artifact_id: UUID,
    model: str,
    subject: Subject,
    training_attestation: str,
    outcome: shapes.ReproductionOutcome,
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
    _check_order(approved_at, expires_at, "An approval cannot expire before it is given.")
    predicate = {
        "promotionId": str(promotion_id),
        "model": model,
        "environment": environment,
        "manifest": manifest,
        "approver": approver,
        "approvedAt": timestamp(approved_at),
        "expiresAt": timestamp(expires_at),
    }
    return signable(write(subject, shapes.APPROVAL, predicate))


def export(
    *,
    artifact_id: UUID,
    model: str,
    version: int,
    environment: str | None,
    subject: Subject,
    current: tuple[int, str] | None,
    head: Checkpoint,
    files: str,
    exported_by: str,
    exported_at: datetime,
) -> bytes:
    """State what was exported and where the log stood.

    Args:
        artifact_id: the artifact.
        model: its model's name.
        version: its version, from 1.
        environment: the environment the export is about, None for an export of a version.
        subject: its bytes.
        current: sequence and manifest digest the environment pointed to at the log's head; None without an environment.
        head: the checkpoint the export leads to.
        files: hex SHA-256 of the export's list of files.
        exported_by: who asked for it.
        exported_at: when.

    Raises:
        BadInput: an environment without what is current in it or the other way round, the statement would be too long to sign, or a
            value is not what it must be.
    """
    if (environment is None) != (current is None):
        raise BadInput("An export about an environment says what is current there, and no other export does.")
    predicate = {
        "artifactId": str(artifact_id),
        "model": model,
        "version": version,
        "environment": environment,
        "current": {"sequence": current[0], "manifest": current[1]} if current else None,
        "head": {"origin": head.origin, "size": head.size, "root": head.root.hex()},
        "files": files,
        "exportedBy": exported_by,
        "exportedAt": timestamp(exported_at),
    }
    return signable(write(subject, shapes.EXPORT, predicate))


def imported(
    *,
    source: str,
    kind: shapes.ImportedKind,
    original_id: str,
    document: str,
    artifact_id: UUID | None,
    outcome: str,
    imported_by: str,
    imported_at: datetime,
) -> bytes:
    """State what another service said, and what became of it here.

    Args:
        source: the service's address.
        kind: what the record is about.
        original_id: its id there.
        document: the record as it is kept; the statement's subject is its SHA-256.
        artifact_id: what was registered of it; None where nothing was.
        outcome: what became of it, in words.
        imported_by: who asked for it.
        imported_at: when.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    predicate = {
        "source": source,
        "kind": kind,
        "originalId": original_id,
        "artifactId": str(artifact_id) if artifact_id else None,
        "outcome": outcome,
        "importedBy": imported_by,
        "importedAt": timestamp(imported_at),
    }
    subject = Subject(f"{kind}:{original_id}", DigestKind.FILE, sha256_hex(document.encode()))
    return signable(write(subject, shapes.IMPORT, predicate))


def tombstone(
    *,
    artifact_id: UUID,
    model: str,
    version: int,
    subject: Subject,
    artifact_uri: str,
    reason: str,
    rule: Mapping[str, int],
    pruned_by: str,
    pruned_at: datetime,
) -> bytes:
    """State that an artifact's bytes were removed on purpose.

    Args:
        artifact_id: the artifact.
        model: its model's name.
        version: its version, from 1.
        subject: its bytes.
        artifact_uri: where they were.
        reason: why, in words.
        rule: what was kept, as `predicates.RetentionRule` says.
        pruned_by: who asked for it.
        pruned_at: when.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    predicate = {
        "artifactId": str(artifact_id),
        "model": model,
        "version": version,
        "artifactUri": artifact_uri,
        "reason": reason,
        "rule": dict(rule),
        "prunedBy": pruned_by,
        "prunedAt": timestamp(pruned_at),
    }
    return signable(write(subject, shapes.TOMBSTONE, predicate))


def _check_outcome(outcome: shapes.ReproductionOutcome, registered: str, reproduced: str | None) -> None:
    if (reproduced is None) != (outcome == "failed"):
        raise BadInput("A reproduction has a checksum of what came out, unless it failed.")
    if (reproduced == registered) != (outcome == "identical"):
        raise BadInput("A reproduction is identical if the checksums are equal, and only then.")


def _check_order(earlier: datetime, later: datetime, problem: str) -> None:
    if timestamp(earlier) > timestamp(later):
        raise BadInput(problem)
