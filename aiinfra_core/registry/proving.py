"""Events and proofs that they are in the log, as they are sent. How trees and checkpoints are made lives in `audit_log`."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, Row, Select, Text, bindparam, cast, func, literal, select

from aiinfra_core import canonical_json
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.errors import BadInput, Conflict, NotFound
from aiinfra_core.evidence import consistency_proof, log_proof
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.log_tables import audit_checkpoints, audit_events
from aiinfra_core.registry import as_sent, attestations, evidence, rows
from aiinfra_core.wire.reading import SentCheckpoint, SentConsistency, SentProof

MOST_LOOKED_AT = 10_000
"""How many events one page of a search looks at."""
NEWEST_CHECKPOINT = select(audit_checkpoints).order_by(audit_checkpoints.c.size.desc()).limit(literal(1, literal_execute=True))
CHECKPOINT = select(audit_checkpoints).where(audit_checkpoints.c.size == bindparam("size", type_=BigInteger))
EVENT = select(audit_events).where(audit_events.c.seq == bindparam("seq", type_=BigInteger))
_NEWEST = select(func.max(audit_events.c.seq))
_PAGE = (
    select(audit_events.c.seq, cast(as_sent.event(), Text).label("document"))
    .where(audit_events.c.seq > bindparam("after", type_=BigInteger))
    .order_by(audit_events.c.seq)
    .limit(bindparam("most", type_=Integer, literal_execute=True))
)
_LOOKED_AT = _PAGE.where(audit_events.c.seq <= bindparam("until", type_=BigInteger))
_TESTS: dict[str, ColumnElement[bool]] = {
    "event_type": audit_events.c.event_type == bindparam("event_type", type_=Text),
    "subject": cast(audit_events.c.payload, Text).contains(bindparam("subject", type_=Text), autoescape=False),
}


def events_query(filters: frozenset[str]) -> Select[tuple[int, str]]:
    """Return the query of a page of events."""
    return _LOOKED_AT.where(*(_TESTS[name] for name in sorted(filters))) if filters else _PAGE


def events(
    tx: Connection, *, after: int, limit: int, event_type: str | None = None, subject: str | None = None
) -> tuple[Sequence[str], int | None]:
    """Return events in their order as JSON texts of `SentEvent`, and the seq the next page begins after, if there is one.

    A search looks at `MOST_LOOKED_AT` events at most, so a page of it may be short, or empty, and yet not the last.
    """
    asked = {"event_type": event_type, "subject": subject and _as_told(subject)}
    values = {name: value for name, value in asked.items() if value is not None}
    until = after + MOST_LOOKED_AT
    bounds = {"after": after, "most": limit + 1, "until": until} if values else {"after": after, "most": limit + 1}
    found = tx.execute(events_query(frozenset(values)), values | bounds).all()
    shown = [row.document for row in found[:limit]]
    if len(found) > limit:
        return shown, found[limit - 1].seq
    return shown, until if values and (tx.execute(_NEWEST).scalar() or 0) > until else None


def _as_told(subject: str) -> str:
    """Return how a payload tells its subject; inside any other text of it the quotes would be escaped."""
    told = canonical_json.dumps({"subject": subject}).decode()[1:-1]
    return told.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def of_event(tx: Connection, seq: int) -> SentProof:
    """Return the proof that an event is in the log, under the newest checkpoint.

    Raises:
        NotFound: there is no such event.
        Conflict: no checkpoint covers it yet.
        EvidenceBroken: at `audit_tiles`; the tree lacks a node.
    """
    row = rows.first(tx, EVENT, {"seq": seq})
    if row is None:
        raise NotFound(f"There is no event with seq {seq}.")
    head = checkpoints.latest(tx)
    if head is None or head.size < seq:
        raise Conflict(f"No checkpoint covers event {seq} yet; ask again in a minute, or make one: aiinfra audit checkpoint")
    proof = log_proof.write(checkpoints.inclusion(tx, seq, head))
    return SentProof(seq=seq, size=head.size, entry=leaf(row).decode(), proof=proof.decode())


def of_registration(tx: Connection, artifact: Artifact) -> SentProof:
    """Return the proof that the event that registered an artifact is in the log.

    Raises:
        Conflict: it has not been chained yet, or no checkpoint covers it.
        EvidenceBroken: at `audit_tiles`, `envelope` or `payload type`.
    """
    envelope = attestations.envelope(tx, artifact.attestation)
    taken = evidence.taken_in(tx, envelope, artifact.created_at)
    if taken is None:
        raise Conflict(f"The registration of {artifact.model}:{artifact.version} waits to be chained into the log; ask again in a moment.")
    return of_event(tx, taken[0] + 1)


def newest_checkpoint(tx: Connection) -> SentCheckpoint:
    """Return the newest checkpoint.

    Raises:
        NotFound: there is none yet.
    """
    row = tx.execute(NEWEST_CHECKPOINT).one_or_none()
    if row is None:
        raise NotFound("There is no checkpoint yet: nothing has happened, or none was made; see: aiinfra audit checkpoint")
    return _sent(row)


def consistency(tx: Connection, old: int, new: int | None) -> SentConsistency:
    """Return the proof that the log of one published checkpoint continues that of an earlier one; None stands for the newest.

    Raises:
        NotFound: one of them was not published.
        BadInput: the first is not the earlier one.
        EvidenceBroken: at `audit_tiles`; the tree lacks a node.
    """
    last = newest_checkpoint(tx) if new is None else _published(tx, new)
    if old > last.size:
        raise BadInput(f"The log of {old} entries is later than that of {last.size}: give the smaller size as from.")
    first = _published(tx, old)
    hashes = checkpoints.consistency(tx, old, last.size)
    return SentConsistency(
        from_size=old,
        from_root=first.root,
        to_size=last.size,
        to_root=last.root,
        hashes=tuple(log_proof.hash_lines(hashes)),
        proof=consistency_proof.write(Checkpoint(first.origin, old, bytes.fromhex(first.root)), hashes).decode(),
        checkpoint=last.note,
    )


def _published(tx: Connection, size: int) -> SentCheckpoint:
    row = tx.execute(CHECKPOINT, {"size": size}).one_or_none()
    if row is None:
        raise NotFound(f"No checkpoint of {size} entries was published; the newest is at /ai-infra/audit/checkpoint")
    return _sent(row)


def _sent(row: Row[Any]) -> SentCheckpoint:
    return SentCheckpoint(origin=row.origin, size=row.size, root=row.root, note=bytes(row.note).decode(), created_at=row.created_at)
