"""Drain the outbox into the signed hash chain, one sequencer at a time, in batches.

The signer is asked outside any transaction, under a session lock: a slow key service never holds rows.
"""

import base64
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select, text
from sqlalchemy.exc import IntegrityError

from aiinfra_core import database
from aiinfra_core.errors import Unavailable
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.settings import Settings
from aiinfra_core.signing.signer import Signer, sign_verified
from aiinfra_core.tables import audit_outbox

logger = logging.getLogger(__name__)

BATCH = 500
MOST_REFUSALS = 3
_LOCK_KEY = 0x41554449  # "AUDI"
_PENDING = text(
    f"""
    SELECT waiting.id, waiting.payload::text AS payload, head.seq, head.hash, head.created_at
    FROM audit_outbox AS waiting
    LEFT JOIN (SELECT seq, hash, created_at FROM audit_events ORDER BY seq DESC LIMIT 1) AS head ON true
    ORDER BY waiting.id LIMIT {BATCH}
    """  # noqa: S608 - a constant of ours
)
# Takes the lock, if it is free, and reads in one round trip. Between its snapshot and the lock another sequencer may have ended: then
# the chain refuses the same place twice, and it is read again.
_TRY_LOCK_AND_PENDING = text(
    f"""
    WITH mine AS MATERIALIZED (SELECT pg_try_advisory_lock(:key) AS locked)
    SELECT mine.locked, pending.* FROM mine LEFT JOIN ({_PENDING.text}) AS pending ON mine.locked ORDER BY pending.id
    """  # noqa: S608 - as above
)
_LOCK = text("SELECT pg_advisory_lock(:key)")
_UNLOCK = text("SELECT pg_advisory_unlock(:key)")
# One statement, so that an event is in the chain or in the outbox, never in both or neither.
_CHAIN = text(
    """
    WITH drained AS (DELETE FROM audit_outbox WHERE id = ANY (:drained))
    INSERT INTO audit_events
      (seq, id, event_type, payload, prev_hash, hash, signature, signer_id, ts, created_at, metadata, version)
    SELECT seq, id, event_type, payload::json, prev_hash, hash, signature, signer_id, ts, created_at, metadata::json, version
    FROM json_to_recordset(CAST(:events AS json)) AS event (seq bigint, id uuid, event_type text, payload text, prev_hash text,
      hash text, signature text, signer_id text, ts timestamptz, created_at timestamptz, metadata text, version integer)
    """
)


def sequence_pending(settings: Settings, signer: Signer) -> int:
    """Chain and sign every event now waiting in the outbox; return how many.

    Killed at any point, the rest waits in the outbox for the next call; no event is lost or chained twice.

    Raises:
        Unavailable: the database or the signer cannot be reached.
    """
    with database.autocommit(settings) as connection:
        try:
            return _drain(connection, signer)
        finally:
            if not (connection.invalidated or connection.closed):
                connection.execute(_UNLOCK, {"key": _LOCK_KEY})


def waiting(tx: Connection) -> int:
    """Return how many events wait in the outbox."""
    return tx.execute(select(func.count()).select_from(audit_outbox)).scalar_one()


def sequence_quietly(settings: Settings, signer: Callable[[Settings], Signer]) -> None:
    """Sequence what waits; when that cannot be done now, log it and leave the events for the next call."""
    try:
        sequence_pending(settings, signer(settings))
    except Unavailable as error:
        logger.warning("Audit events wait in the outbox: %s", error)


def _drain(connection: Connection, signer: Signer) -> int:
    pending = _lock_and_read(connection)
    sequenced = refused = 0
    while pending:
        try:
            _chain(connection, pending, signer)
            sequenced, refused = sequenced + len(pending), 0
        except IntegrityError as error:
            refused += 1
            if refused == MOST_REFUSALS:
                raise Unavailable("database", "The end of the audit log does not take the next event; look with: aiinfra verify") from error
        pending = connection.execute(_PENDING).all() if refused or len(pending) == BATCH else []
    return sequenced


def _lock_and_read(connection: Connection) -> Sequence[Row[Any]]:
    rows = connection.execute(_TRY_LOCK_AND_PENDING, {"key": _LOCK_KEY}).all()
    if rows[0].locked:
        return [row for row in rows if row.id is not None]
    connection.execute(_LOCK, {"key": _LOCK_KEY})
    return connection.execute(_PENDING).all()


def _chain(connection: Connection, pending: Sequence[Row[Any]], signer: Signer) -> None:
    last = pending[0]
    head = Head() if last.seq is None else Head(last.seq, last.hash, last.created_at)
    events = list(_signed(head, [row.payload for row in pending], signer))
    connection.execute(_CHAIN, {"events": json.dumps(events, default=str), "drained": [row.id for row in pending]})


def _signed(head: Head, payloads: list[str], signer: Signer) -> Iterator[dict[str, Any]]:
    for payload in payloads:
        event = follow(head, payload)
        signature = sign_verified(signer, bytes.fromhex(event["hash"]))
        yield event | {"signature": base64.b64encode(signature).decode(), "signer_id": signer.signer_id}
        head = head_after(event)
