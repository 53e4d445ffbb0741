"""What scans found in artifacts. Scanning lives in `scanning`; the first scan of an artifact is recorded with its registration."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.scan import Finding, Scan
from aiinfra_core.registry import attestations
from aiinfra_core.registry.rows import every, first, full_row
from aiinfra_core.registry.writes import inserted, inserted_if_new, told, values
from aiinfra_core.tables import artifact_scans
from aiinfra_core.tables import attestations as attestations_table

_NEWEST_FIRST = (artifact_scans.c.created_at.desc(), artifact_scans.c.id.desc())
_RECORD = told(inserted(attestations_table, inserted_if_new(artifact_scans)))


def record(connection: Connection, artifact: Artifact, scan: Scan, attestation: Attestation) -> Scan:
    """Keep a signed scan; where its id is kept already nothing is done, and that one is returned."""
    row, statement = row_of(scan, attestation), attestations.row_of(attestation, scan.created_at)
    tell = told_of(scan, row, statement, artifact.checksum)
    done = first(connection, _RECORD, values("artifact_scans", row) | values("attestations", statement) | values("event", tell))
    return scan.model_copy(update={"attestation": attestation.digest}) if done else _by_id(connection, scan.id)


def row_of(scan: Scan, attestation: Attestation) -> dict[str, Any]:
    """Return a scan as it is kept."""
    known = scan.model_dump(exclude={"findings", "attestation"}) | {"verdict": scan.verdict.value}
    return full_row(artifact_scans, findings=text_of(scan.findings), attestation=attestation.digest, **known)


def told_of(scan: Scan, row: Mapping[str, Any], statement: Mapping[str, Any], checksum: str) -> dict[str, str]:
    """Return the event that tells of a scan."""
    return event(
        "artifact.scanned",
        at=scan.created_at,
        actor=scan.scanned_by,
        request_id=f"scan:{scan.id}",
        subject=str(scan.artifact_id),
        rows={"artifact_scans": row, "attestations": statement},
        digests={"artifact": checksum, "statement": row["attestation"]},
    )


def text_of(findings: Sequence[Finding]) -> str:
    """Return findings as they are kept, and as their digest is made."""
    return canonical_json.dumps([finding.model_dump(mode="json", by_alias=True) for finding in findings]).decode()


def newest(connection: Connection, artifact_id: UUID) -> Scan | None:
    """Return the newest scan of an artifact, if it was scanned."""
    row = first(connection, select(artifact_scans).where(artifact_scans.c.artifact_id == artifact_id).order_by(*_NEWEST_FIRST).limit(1))
    return None if row is None else _scan(row)


def of_artifact(connection: Connection, artifact_id: UUID) -> list[Scan]:
    """Return the scans of an artifact, newest first."""
    query = select(artifact_scans).where(artifact_scans.c.artifact_id == artifact_id).order_by(*_NEWEST_FIRST)
    return [_scan(row) for row in every(connection, query)]


def _by_id(connection: Connection, scan_id: UUID) -> Scan:
    row = first(connection, select(artifact_scans).where(artifact_scans.c.id == scan_id))
    assert row is not None  # noqa: S101 - scans are never removed
    return _scan(row)


def _scan(row: Mapping[str, Any]) -> Scan:
    return Scan(**{**row, "findings": canonical_json.loads(row["findings"])})
