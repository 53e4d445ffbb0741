"""Keep signed statements, and hand out the exact bytes that were signed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.errors import NotFound
from aiinfra_core.registry.rows import first, full_row
from aiinfra_core.tables import attestations

_KEEP = insert(attestations).on_conflict_do_nothing().returning(attestations.c.digest)


def keep(tx: Connection, attestation: Attestation, at: datetime) -> Mapping[str, Any]:
    """Store a signed statement and return its row; its digest is its key, so keeping it twice keeps it once."""
    row = full_row(attestations, created_at=at, **attestation.model_dump(exclude={"signature"}))
    if tx.execute(_KEEP, row).first():
        return row
    return first(tx, select(attestations).where(attestations.c.digest == attestation.digest)) or row


def envelope(tx: Connection, digest: str) -> bytes:
    """Return the DSSE envelope of a statement, byte for byte.

    Raises:
        NotFound: no statement with this digest is kept.
    """
    kept = tx.execute(select(attestations.c.envelope).where(attestations.c.digest == digest)).scalar_one_or_none()
    if kept is None:
        raise NotFound(f"There is no attestation {digest}.")
    return bytes(kept)
