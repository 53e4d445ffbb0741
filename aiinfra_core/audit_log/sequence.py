"""Drain the outbox into the signed hash chain, one sequencer at a time, in batches.

The signer is asked outside any transaction, under a session lock: a slow key service never holds rows. Of many writers at most one waits
for that lock; it takes along what the others have committed (docs/adr/0008).
"""

import base64
import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, select, text
from sqlalchemy.exc import IntegrityError

from aiinfra_core import database
from aiinfra_core.audit_log.turns import turn_in_process
from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.log_tables import audit_outbox
from aiinfra_core.settings import Settings
from aiinfra_core.signing.signer import Signer, sign_many

logger = logging.getLogger(__name__)

BATCH = 500
MOST_WAITING = 100
"""With more events than that in the outbox writers wait for their turn all the same, so that they do not outrun the sequencer."""
MOST_REFUSALS = 3
CLOCKS_MAY_DIFFER = timedelta(minutes=5)
"""An event from further ahead waits until its time has come: once it is chained, every later one would have to be later still."""
_LOCKS = {"turn": 0x41554449, "next": 0x4155444A}  # "AUDI", "AUDJ"
_PENDING = text(
    f"""
    SELECT waiting.id, waiting.payload::text AS payload, head.seq, head.hash, head.created_at
    FROM audit_outbox AS waiting
    LEFT JOIN (SELECT seq, hash, created_at FROM audit_events ORDER BY seq DESC LIMIT 1) AS head ON true
    ORDER BY waiting.id LIMIT {BATCH}
    """  # noqa: S608 - a constant of ours
)
# Takes the turn, if it is free, and reads in one round trip; if it is not, the place of the next in line, if that is free. Between its
# snapshot and the turn another sequencer may have ended: then the chain refuses the same place twice, and it is read again.
_TRY_TURN_AND_PENDING = text(
    f"""
    WITH mine AS MATERIALIZED (SELECT pg_try_advisory_lock(:turn) AS locked),
      line AS MATERIALIZED (SELECT locked, CASE WHEN locked THEN false ELSE pg_try_advisory_lock(:next) END AS next FROM mine)
    SELECT line.locked, line.next, NOT locked AND NOT next AND EXISTS (SELECT FROM audit_outbox OFFSET {MOST_WAITING}) AS behind, pending.*
    FROM line LEFT JOIN ({_PENDING.text}) AS pending ON line.locked ORDER BY pending.id
    """  # noqa: S608 - as above
)
_TAKE_TURN = text("SELECT pg_advisory_lock(:turn)")
_LEAVE_LINE = text("SELECT pg_advisory_unlock(:next)")
_UNLOCK = text("SELECT pg_advisory_unlock_all()")
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


def sequence_pending(settings: Settings, signer: Signer, *, wait: bool = True) -> int:
    """Chain and sign every event now waiting in the outbox; return how many.

    Killed at any point, the rest waits in the outbox for the next call; no event is lost or chained twice. Without `wait`, they may be
    left to a caller that waits for its turn already.

    Raises:
        Unavailable: the database or the signer cannot be reached.
    """
    with database.autocommit(settings) as connection:
        holds = True
        try:
            pending = _pending(connection, wait)
            holds = pending is not None
            return 0 if pending is None else _drain(connection, pending, signer)
        finally:
            if holds and not (connection.invalidated or connection.closed):
                connection.execute(_UNLOCK)


def waiting(tx: Connection) -> int:
    """Return how many events wait in the outbox."""
    return tx.execute(select(func.count()).select_from(audit_outbox)).scalar_one()


def sequence_quietly(settings: Settings, signer: Callable[[Settings], Signer]) -> None:
    """See that what was committed before this call is sequenced, by this caller or by one that waits for its turn already.

    When it cannot be done now, log it and leave the events for the next call.
    """
    try:
        with turn_in_process(database.url(settings)) as mine:
            if mine:
                sequence_pending(settings, signer(settings), wait=False)
    except Unavailable as error:
        logger.warning("Audit events wait in the outbox: %s", error)


# Of many callers one has the turn, one waits, and the others go: the one that waits reads the outbox only after it has left the line, so
# what was committed by those who found it there is seen.
def _pending(connection: Connection, wait: bool) -> Sequence[Row[Any]] | None:
    rows = connection.execute(_TRY_TURN_AND_PENDING, _LOCKS).all()
    if rows[0].locked:
        return [row for row in rows if row.id is not None]
    if not (rows[0].next or rows[0].behind or wait):
        return None
    connection.execute(_TAKE_TURN, _LOCKS)
    if rows[0].next:
        connection.execute(_LEAVE_LINE, _LOCKS)
    return connection.execute(_PENDING).all()


def _drain(connection: Connection, pending: Sequence[Row[Any]], signer: Signer) -> int:
    sequenced = refused = chained = 0
    while pending:
        try:
            chained = _chain(connection, pending, signer)
            sequenced, refused = sequenced + chained, 0
        except IntegrityError as error:
            refused += 1
            if refused == MOST_REFUSALS:
                raise Unavailable("database", "The end of the audit log does not take the next event; look with: aiinfra verify") from error
        more = refused or chained < len(pending) or len(pending) == BATCH
        pending = connection.execute(_PENDING).all() if more else []
    return sequenced


def _chain(connection: Connection, pending: Sequence[Row[Any]], signer: Signer) -> int:
    """Chain these events, or those before the first that cannot be; return how many."""
    last = pending[0]
    head = Head() if last.seq is None else Head(last.seq, last.hash, last.created_at)
    events = _signed(_followed(head, pending), signer)
    drained = [row.id for row in pending[: len(events)]]
    connection.execute(_CHAIN, {"events": json.dumps(events, default=str), "drained": drained})
    return len(events)


def _followed(head: Head, pending: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    followed: list[dict[str, Any]] = []
    latest = datetime.now(UTC) + CLOCKS_MAY_DIFFER
    for row in pending:
        try:
            event = _next(head, row, latest)
        except Unavailable:
            if not followed:
                raise
            break
        followed.append(event)
        head = head_after(event)
    return followed


def _next(head: Head, row: Row[Any], latest: datetime) -> dict[str, Any]:
    try:
        event = follow(head, row.payload)
        moment = event["created_at"].astimezone(UTC)
    except (BadInput, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise Unavailable("database", f"Row {row.id} of audit_outbox is no event; find out who put it there.") from error
    if moment > latest:
        raise Unavailable("database", f"Row {row.id} of audit_outbox is of {moment}, which is still to come; set the clocks right.")
    return event


def _signed(events: Sequence[dict[str, Any]], signer: Signer) -> list[dict[str, Any]]:
    signatures = sign_many(signer, [bytes.fromhex(event["hash"]) for event in events])
    return [
        event | {"signature": base64.b64encode(signature).decode(), "signer_id": signer.signer_id}
        for event, signature in zip(events, signatures, strict=True)
    ]
