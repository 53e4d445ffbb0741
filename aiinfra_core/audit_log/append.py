"""Put an event into the outbox, in the same transaction as the change it tells of. Chaining and signing happen in `sequence`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.snapshot import snapshot
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.log_tables import audit_outbox

_INSERT = insert(audit_outbox)


def append(tx: Connection, event: Mapping[str, str]) -> None:
    """Put an event into the outbox, in the transaction of the change it tells of: both are kept or neither."""
    tx.execute(_INSERT, event)


def event(
    event_type: str,
    *,
    at: datetime,
    actor: str,
    request_id: str,
    subject: str,
    rows: Mapping[str, Mapping[str, Any]],
    digests: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the outbox row that tells of one state change.

    Args:
        event_type: one of the names of the design, such as `artifact.registered`.
        at: when the change happened (UTC).
        actor: who asked for it.
        request_id: under which request.
        subject: the id of what changed.
        rows: table name -> the row as it is after the change, every column.
        digests: evidence the event leans on, name -> hex SHA-256.
    """
    payload = {
        "type": event_type,
        "time": timestamp(at),
        "actor": actor,
        "request_id": request_id,
        "subject": subject,
        "digests": dict(digests or {}),
        "rows": {table: snapshot(row) for table, row in rows.items()},
    }
    return {"event_type": event_type, "payload": canonical_json.dumps(payload).decode()}
