"""How a state row is written into the event that changed it: every column, as text that can be compared later."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from aiinfra_core import checksums
from aiinfra_core.evidence.statement import timestamp

INLINE_BYTES = 4096


def snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON values; bytes and texts over 4 KB appear by digest and size."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return _by_digest(value)
    if isinstance(value, str) and len(value) * 4 > INLINE_BYTES and len(value.encode()) > INLINE_BYTES:
        return _by_digest(value.encode())
    if isinstance(value, datetime):
        return timestamp(value)
    return str(value) if isinstance(value, UUID) else value


def _by_digest(data: bytes) -> dict[str, Any]:
    return {"sha256": checksums.sha256_hex(data), "size": len(data)}
