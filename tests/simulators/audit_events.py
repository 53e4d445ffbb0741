"""A log with events in it, without the work that makes them, and what a sink was sent."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from aiinfra_core import database
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_dead_letters, audit_deliveries, audit_events
from aiinfra_core.registry import attestations
from aiinfra_core.settings import Settings
from tests.simulators.scripted_server import Behaviour, Handler, Received, ScriptedServer


def tell(settings: Settings, count: int) -> None:
    """Put so many events into the log, each telling of an attestation whose envelope stands in it by digest."""
    with database.transaction(settings) as tx:
        for _ in range(count):
            at, digest = datetime.now(UTC), f"{uuid4().hex}{uuid4().hex}"
            kept = Attestation(
                digest=digest, predicate_type="t", subject_checksum=digest, envelope=digest.encode(), signer_id="test", signature=""
            )
            rows = {"attestations": attestations.keep(tx, kept, at)}
            append(tx, event("evaluation.recorded", at=at, actor="ada", request_id="r", subject=digest, rows=rows))
    sequence_pending(settings, audit_signer(settings))


def rows(settings: Settings) -> list[dict[str, Any]]:
    """Return every event of the log, in order."""
    with database.transaction(settings) as tx:
        return [dict(row) for row in tx.execute(select(audit_events).order_by(audit_events.c.seq)).mappings()]


def dead_letters(settings: Settings) -> dict[int, Any]:
    """Return the dead letters by the seq of their event."""
    with database.transaction(settings) as tx:
        return {row.seq: row for row in tx.execute(select(audit_dead_letters))}


def deliveries(settings: Settings) -> dict[str, Any]:
    """Return how far each sink is, by its id."""
    with database.transaction(settings) as tx:
        return {row.sink: row for row in tx.execute(select(audit_deliveries))}


def seqs(server: ScriptedServer) -> list[int]:
    """Return the seq of each event a sink was sent, in the order of their arrival."""
    return [int(received.json["sequence"]) for received in server.requests]


def answering(odd: dict[int, Behaviour], usual: Behaviour) -> Behaviour:
    """Behave as usual but for the events with these seqs."""

    def behave(handler: Handler, received: Received) -> None:
        odd.get(int(received.json["sequence"]), usual)(handler, received)

    return behave
