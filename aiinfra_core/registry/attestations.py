"""Keep signed statements, and hand out the exact bytes that were signed."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.errors import NotFound
from aiinfra_core.registry.rows import full_row, insert_row
from aiinfra_core.tables import attestations


def row_of(attestation: Attestation, at: datetime) -> dict[str, Any]:
    """Return a signed statement as it is kept; its digest is its key."""
    return full_row(attestations, created_at=at, **attestation.model_dump(exclude={"signature"}))


def keep(tx: Connection, attestation: Attestation, at: datetime) -> dict[str, Any]:
    """Store a signed statement and return its row."""
    return insert_row(tx, attestations, **row_of(attestation, at))


def envelope(tx: Connection, digest: str) -> bytes:
    """Return the DSSE envelope of a statement, byte for byte.

    Raises:
        NotFound: no statement with this digest is kept.
    """
    kept = tx.execute(select(attestations.c.envelope).where(attestations.c.digest == digest)).scalar_one_or_none()
    if kept is None:
        raise NotFound(f"There is no attestation {digest}.")
    return bytes(kept)
