"""Signed tree heads: made from the stored tree, published outside the database first, kept in it second; proofs that lead to them.

What is published under a size stays as it is, so a database that was edited, cut or put back to an older state and then went on is
found here, before anything else is signed. When a checkpoint is due is decided in `keeping_up`.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from aiinfra_core import artifact_store, database, merkle
from aiinfra_core.artifact_store import Location, published
from aiinfra_core.audit_log import tiles
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import Conflict, EvidenceBroken, NotFound
from aiinfra_core.evidence import checkpoint as notes
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.log_proof import LogProof
from aiinfra_core.evidence.trust import keys_for, listed_keys
from aiinfra_core.keys import trust_of
from aiinfra_core.log_tables import audit_checkpoints, audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.signing.signer import Signer

logger = logging.getLogger(__name__)

_LOCK_KEY = 0x41554443  # "AUDC"
_SIZE_DIGITS = 20


@dataclass(frozen=True)
class Published:
    """A checkpoint as it was published: the exact bytes of its note, and what they say."""

    checkpoint: Checkpoint
    note: bytes

    @property
    def size(self) -> int:
        """How many entries it covers."""
        return self.checkpoint.size


def checkpoint(settings: Settings, signer: Signer, *, wait: bool = True) -> Published | None:
    """Take every event into the tree and, if there are new ones, publish its head and keep it; return the newest checkpoint.

    Killed at any point and called again, it ends the same. Without `wait`, nothing is done while somebody else is at it.

    Raises:
        EvidenceBroken: at `audit_tiles`, `audit_events` or `checkpoint`; the log is not a continuation of what was published.
        Misconfigured: there is no place to publish to, or it cannot lock as asked.
        Unavailable: the database, the signer or the place cannot be reached; nothing is half done.
    """
    with (database.advisory_lock if wait else database.free_advisory_lock)(settings, _LOCK_KEY) as connection:
        return _checkpoint(connection, settings, signer) if connection is not None else None


def latest(tx: Connection) -> Published | None:
    """Return the newest checkpoint that is kept, if there is one."""
    row = tx.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.size.desc()).limit(1)).one_or_none()
    return None if row is None else _kept(row)


def inclusion(tx: Connection, seq: int, covering: Published) -> LogProof:
    """Return the proof that the event with this seq is in the log that a checkpoint commits to.

    Raises:
        NotFound: the checkpoint covers no such event.
        EvidenceBroken: at `audit_tiles`; the tree lacks a node.
    """
    if not 0 < seq <= covering.size:
        raise NotFound(f"The checkpoint covers {covering.size} entries, not seq {seq}; see: aiinfra audit checkpoint")
    hashes = tiles.proof(tx, partial(merkle.inclusion_proof, seq - 1, covering.size))
    return LogProof(seq - 1, tuple(hashes), covering.note)


def consistency(tx: Connection, old: int, new: int) -> list[bytes]:
    """Return the proof that the log of `new` entries begins with the `old` ones.

    Raises:
        BadInput: the sizes are not 0 < old <= new.
        EvidenceBroken: at `audit_tiles`; the tree lacks a node.
    """
    return tiles.proof(tx, partial(merkle.consistency_proof, old, new))


def outside(settings: Settings, after: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the size in the name and the first bytes of every checkpoint published for more than `after` entries, in order; unverified.

    Raises:
        EvidenceBroken: at `checkpoint`; something else lies among them.
        Misconfigured, Unavailable: as `checkpoint`.
    """
    place, folder = _place(settings), _folder(settings)
    for name in published.names_below(place, folder, _name(after)):
        if not (name.isascii() and name.isdigit() and len(name) == _SIZE_DIGITS):
            raise EvidenceBroken("checkpoint", f"{place.root}/{folder}/{name} is not the name of one; find out who put it there.")
        yield int(name), published.read_oldest(place, f"{folder}/{name}")


def _checkpoint(connection: Connection, settings: Settings, signer: Signer) -> Published | None:
    last, size = latest(connection), tiles.grow(connection)
    if size == (last.size if last else 0):
        return last
    node = tiles.reader(connection)
    if last is not None:
        _refuse_other(last.checkpoint, size, node)
    for named, note in outside(settings, after=last.size if last else 0):
        if not _is_of_this_log(settings, note):
            logger.error(
                "The checkpoint published for %d entries is signed by no key that may: passed over. Find out who put it there.", named
            )
            continue
        seen = _named(named, notes.parse(note))
        _refuse_other(seen, size, node)
        if named < size:  # whoever published it was killed before the database had it
            at = _created_at(connection, named)
            _refuse_unsigned(settings, seen, note, at)
            _keep(connection, seen, note, at)
    head, at = Checkpoint(settings.log_origin, size, merkle.root_at(size, node)), _created_at(connection, size)
    note = _publish(settings, head, notes.sign(head, signer), at)
    _keep(connection, head, note, at)
    return Published(head, note)


# A note of nobody's must not stop the log. Whether a key counts for a note that is ours is asked before it is kept.
def _is_of_this_log(settings: Settings, note: bytes) -> bool:
    keys = listed_keys(trust_of(settings), Purpose.AUDIT)
    try:
        notes.open_checkpoint(note, settings.log_origin, keys.values())
    except EvidenceBroken:
        return False
    return True


def _keep(connection: Connection, head: Checkpoint, note: bytes, at: datetime) -> None:
    values: dict[str, Any] = {"size": head.size, "origin": head.origin, "root": head.root.hex(), "note": note, "created_at": at}
    connection.execute(insert(audit_checkpoints).values(values))


def _named(size: int, seen: Checkpoint) -> Checkpoint:
    if seen.size != size:
        raise EvidenceBroken("checkpoint", f"the one published for {size} entries says {seen.size}; find out who put it there.")
    return seen


def _refuse_other(seen: Checkpoint, size: int, node: merkle.Node) -> None:
    if seen.size > size:
        raise EvidenceBroken("checkpoint", f"one of {seen.size} entries was published, but the log has {size}: events are gone.")
    if merkle.root_at(seen.size, node) != seen.root:
        raise EvidenceBroken(
            "checkpoint", f"the log does not begin with the {seen.size} entries that were published; see: aiinfra audit verify"
        )


def _publish(settings: Settings, head: Checkpoint, note: bytes, at: datetime) -> bytes:
    """Put the note outside and return what is there: ours, or one that an earlier key signed for the same tree."""
    place, key = _place(settings), f"{_folder(settings)}/{_name(head.size)}"
    try:
        published.put_once(place, key, note, settings.checkpoint_lock_days)
    except Conflict:
        note = published.read_oldest(place, key)
        if _refuse_unsigned(settings, head, note, at) != head:
            raise EvidenceBroken("checkpoint", f"{place.root}/{key} commits to another log of {head.size} entries.") from None
    return note


def _refuse_unsigned(settings: Settings, head: Checkpoint, note: bytes, at: datetime) -> Checkpoint:
    """Return what a published note says, if a key signed it that counts for the last entry it covers, created `at`."""
    keys = keys_for(trust_of(settings), Purpose.AUDIT, at=at, index=head.size - 1)
    return notes.open_checkpoint(note, settings.log_origin, keys.values())[0]


def _created_at(tx: Connection, seq: int) -> datetime:
    moment: datetime = tx.execute(select(audit_events.c.created_at).where(audit_events.c.seq == seq)).scalar_one()
    return moment


def _kept(row: Row[Any]) -> Published:
    return Published(Checkpoint(row.origin, row.size, bytes.fromhex(row.root)), bytes(row.note))


def _place(settings: Settings) -> Location:
    if settings.checkpoint_root is None:
        return artifact_store.location(settings)
    return artifact_store.location_at(settings, settings.checkpoint_root, "AI_INFRA_CHECKPOINT_ROOT")


def _folder(settings: Settings) -> str:
    return f"checkpoints/{settings.log_origin.replace('/', '_')}"


def _name(size: int) -> str:
    return f"{size:0{_SIZE_DIGITS}d}"
