"""`audit checkpoint`, `audit proof` and `audit run`: what the log commits to, and keeping it published."""

import base64
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Annotated, Any
from uuid import UUID

from cyclopts import Parameter
from sqlalchemy import Connection, select

from aiinfra_core import database
from aiinfra_core.approving import waiting
from aiinfra_core.audit_log import checkpoints, keeping_up, looking_after
from aiinfra_core.audit_log.checkpoints import Published
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.cli.output import AsJson, note, say, say_json
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.errors import BadInput, NotFound
from aiinfra_core.evidence import log_proof
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings

_SEQ = re.compile(r"[0-9]{1,18}", re.ASCII)


def checkpoint(*, as_json: AsJson = False) -> None:
    """Publish a checkpoint if there are new events and print the newest."""
    made = _newest(running_parts())
    if made is None:
        raise NotFound("The log has no events yet, so there is nothing to commit to.")
    if as_json:
        return say_json(_plain(made))
    return say(_text(made.note))


def proof(
    event: Annotated[str, Parameter(help="The event's seq or its id.")],
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """Print an inclusion proof; an event without a checkpoint gets one first."""
    settings = running_parts()
    with database.transaction(settings) as tx:
        row = _event(tx, event)
        covering = checkpoints.latest(tx)
    if covering is None or covering.size < row["seq"]:
        covering = _newest(settings)
    assert covering is not None  # noqa: S101 - the log has this event
    with database.transaction(settings) as tx:
        found = log_proof.write(checkpoints.inclusion(tx, row["seq"], covering))
    if as_json:
        return say_json({"seq": row["seq"], "entry": leaf(row).decode(), "proof": found.decode(), "checkpoint": _plain(covering)})
    return say(_text(found))


def run() -> None:
    """Keep the log chained, published and delivered, and see to promotions that wait for people, until told to stop."""
    settings = running_parts()
    note("Chaining, publishing and delivering the audit log; end with Ctrl-C or SIGTERM.")
    with waiting.in_thread(settings), _told_to_stop() as stop:
        looking_after.until(settings, stop)
    keeping_up.publish(settings)


@contextmanager
def _told_to_stop() -> Iterator[Event]:
    stop = Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _newest(settings: Settings) -> Published | None:
    sequence_pending(settings, audit_signer(settings))
    return checkpoints.checkpoint(settings, audit_signer(settings))


def _event(tx: Connection, named: str) -> dict[str, Any]:
    try:
        which = audit_events.c.seq == int(named) if _SEQ.fullmatch(named) else audit_events.c.id == UUID(named)
    except ValueError:
        raise BadInput(f"{named!r} is neither the seq nor the id of an event.") from None
    row = tx.execute(select(audit_events).where(which)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"The log has no event {named}; it may wait in the outbox: aiinfra audit checkpoint")
    return {str(name): value for name, value in row.items()}


def _plain(made: Published) -> dict[str, Any]:
    head = made.checkpoint
    return {"origin": head.origin, "size": head.size, "root": base64.b64encode(head.root).decode(), "note": made.note.decode()}


def _text(data: bytes) -> str:
    return data.decode().removesuffix("\n")
