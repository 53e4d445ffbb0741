"""Drain the outbox into the signed hash chain, one sequencer at a time, in batches.

The signer is asked outside any transaction, under a session lock: a slow key service never holds rows.
"""

import base64
import logging
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from aiinfra_core import database
from aiinfra_core.audit_log.chain import Head, follow, head_after
from aiinfra_core.errors import Unavailable
from aiinfra_core.settings import Settings
from aiinfra_core.signing.signer import Signer, sign_verified
from aiinfra_core.tables import audit_events, audit_outbox

logger = logging.getLogger(__name__)

BATCH = 500
_LOCK_KEY = 0x41554449  # "AUDI"
_PENDING = select(audit_outbox.c.id, audit_outbox.c.payload).order_by(audit_outbox.c.id).limit(BATCH)
_HEAD = select(audit_events.c.seq, audit_events.c.hash, audit_events.c.created_at).order_by(audit_events.c.seq.desc()).limit(1)
_DRAIN = delete(audit_outbox).where(audit_outbox.c.id == func.any(bindparam("ids")))


def sequence_pending(settings: Settings, signer: Signer) -> int:
    """Chain and sign every event now waiting in the outbox; return how many.

    Killed at any point, the rest waits in the outbox for the next call; no event is lost or chained twice.

    Raises:
        Unavailable: the database or the signer cannot be reached.
    """
    sequenced = 0
    with database.advisory_lock(settings, _LOCK_KEY) as connection:
        while batch := _chain_batch(connection, signer):
            sequenced += batch
    return sequenced


def waiting(tx: Connection) -> int:
    """Return how many events wait in the outbox."""
    return tx.execute(select(func.count()).select_from(audit_outbox)).scalar_one()


def sequence_quietly(settings: Settings, signer: Callable[[Settings], Signer]) -> None:
    """Sequence what waits; when that cannot be done now, log it and leave the events for the next call."""
    try:
        sequence_pending(settings, signer(settings))
    except Unavailable as error:
        logger.warning("Audit events wait in the outbox: %s", error)


def _chain_batch(connection: Connection, signer: Signer) -> int:
    with connection.begin():
        pending = connection.execute(_PENDING).all()
        found = connection.execute(_HEAD).one_or_none() if pending else None
    if not pending:
        return 0
    head = Head(*found) if found else Head()
    events = list(_signed(head, [row.payload for row in pending], signer))
    with connection.begin():
        connection.execute(insert(audit_events), events)
        connection.execute(_DRAIN, {"ids": [row.id for row in pending]})
    return len(events)


def _signed(head: Head, payloads: list[str], signer: Signer) -> Iterator[dict[str, Any]]:
    for payload in payloads:
        event = follow(head, payload)
        signature = sign_verified(signer, bytes.fromhex(event["hash"]))
        yield event | {"signature": base64.b64encode(signature).decode(), "signer_id": signer.signer_id}
        head = head_after(event)
