"""One builder per claim about keeping: export, import, tombstone. Each returns the bytes to sign.

The frame around a claim lives in `statement`, the shapes in `confirmation_predicates`, signing in `dsse`.
"""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import predicates as shapes
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.confirmation_predicates import ImportedKind
from aiinfra_core.evidence.statement import Subject, signable, timestamp, write


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
    kind: ImportedKind,
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
        rule: what was kept, as `confirmation_predicates.RetentionRule` says.
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
