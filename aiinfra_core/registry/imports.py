"""Records of a service that this one replaces: each kept once, as it came, with a signed statement that it did."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from aiinfra_core.audit_log.append import event
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.imported import Imported, Kind
from aiinfra_core.evidence import claims
from aiinfra_core.registry import attestations
from aiinfra_core.registry.evidence import Kept
from aiinfra_core.registry.rows import first, full_row
from aiinfra_core.registry.writes import inserted, inserted_if_new, told, values
from aiinfra_core.tables import attestations as attestations_table
from aiinfra_core.tables import imports

_RECORD = told(inserted(attestations_table, inserted_if_new(imports)))
_KNOWN = select(imports).where(
    imports.c.source == bindparam("source"), imports.c.kind == bindparam("kind"), imports.c.original_id == bindparam("original_id")
)


def record(connection: Connection, record: Imported, attestation: Attestation) -> bool:
    """Keep a signed record; return whether it is the first of its kind and id from its source, for any other changes nothing."""
    row = full_row(imports, **record.model_dump(exclude={"attestation"}), attestation=attestation.digest)
    statement = attestations.row_of(attestation, record.created_at)
    tell = event(
        "import.recorded",
        at=record.created_at,
        actor=record.imported_by,
        request_id=f"import:{record.kind}:{record.original_id}",
        subject=str(record.id),
        rows={"imports": row, "attestations": statement},
        digests={"document": sha256_hex(record.document.encode()), "statement": attestation.digest},
    )
    bound = values("imports", row) | values("attestations", statement) | values("event", tell)
    return first(connection, _RECORD, bound) is not None


def known(connection: Connection, source: str, kind: Kind, original_id: str) -> Imported | None:
    """Return what was kept of a record, or None."""
    row = first(connection, _KNOWN, {"source": source, "kind": kind, "original_id": original_id})
    return None if row is None else _imported(row)


def of_artifact(connection: Connection, artifact_id: UUID) -> Imported | None:
    """Return the record an artifact was registered of, or None where it was not imported; the first, if there are several."""
    query = select(imports).where(imports.c.artifact_id == artifact_id).order_by(imports.c.created_at, imports.c.id).limit(1)
    row = first(connection, query)
    return None if row is None else _imported(row)


def kept(connection: Connection, record: Imported) -> Kept:
    """Return the signed statement of a record, and the payload it must have.

    Raises:
        NotFound: the statement is gone.
    """
    return Kept(attestations.envelope(connection, record.attestation or ""), claims.of_import(record))


def _imported(row: Mapping[str, Any]) -> Imported:
    return Imported(**row)
