"""Make a write happen once: the first to claim a request id does it, everybody after gets what it made."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert

from aiinfra_core import canonical_json, checksums
from aiinfra_core.errors import RequestIdReused
from aiinfra_core.tables import request_ids

_CLAIM = insert(request_ids).on_conflict_do_nothing().returning(request_ids.c.subject_id)


def claim(tx: Connection, operation: str, request_id: str, body: dict[str, Any], subject_id: UUID, at: datetime) -> UUID:
    """Return `subject_id` when this request is new, and the first subject when it was asked before.

    A concurrent claim of the same request waits here until the first one commits or rolls back.

    Raises:
        RequestIdReused: the request id was used for another body.
    """
    values = row_of(operation, request_id, body, subject_id, at)
    if tx.execute(_CLAIM, values).first():
        return subject_id
    first = earlier(tx, operation, request_id, body)
    assert first is not None  # noqa: S101 - the insert found it, and nobody deletes it while we look
    return first


def row_of(operation: str, request_id: str, body: dict[str, Any], subject_id: UUID, at: datetime) -> dict[str, Any]:
    """Return the row that claims a request id."""
    return {"operation": operation, "request_id": request_id, "body_digest": _digest(body), "subject_id": subject_id, "created_at": at}


def earlier(tx: Connection, operation: str, request_id: str, body: dict[str, Any]) -> UUID | None:
    """Return the subject this request made earlier, or None when it is new.

    Raises:
        RequestIdReused: the request id was used for another body.
    """
    same = (request_ids.c.operation == operation) & (request_ids.c.request_id == request_id)
    first = tx.execute(select(request_ids.c.body_digest, request_ids.c.subject_id).where(same)).one_or_none()
    return None if first is None else subject_of(first.body_digest, first.subject_id, operation, request_id, body)


def subject_of(body_digest: str, subject_id: UUID, operation: str, request_id: str, body: dict[str, Any]) -> UUID:
    """Return the subject a recorded request made, if it was asked with this body.

    Raises:
        RequestIdReused: it was asked with another.
    """
    if body_digest != _digest(body):
        raise RequestIdReused(f"Request id {request_id} was used before for another {operation}; choose a new one.")
    return UUID(str(subject_id))


def _digest(body: dict[str, Any]) -> str:
    return checksums.sha256_hex(canonical_json.dumps(body))


def release(tx: Connection, operation: str, subject_id: UUID) -> None:
    """Let a request be asked again, because a part it needed was unavailable."""
    tx.execute(delete(request_ids).where((request_ids.c.operation == operation) & (request_ids.c.subject_id == subject_id)))
