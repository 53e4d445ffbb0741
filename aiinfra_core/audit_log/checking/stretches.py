"""One stretch of the log, read and walked: the unit of work of a verification, in this process or in another.

What the rows of a stretch must be lives in `walk`, joining the stretches in `check`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aiinfra_core.audit_log.checking.state_rows import PRIMARY_KEYS, Connection, digest
from aiinfra_core.audit_log.checking.walk import AuditKey, Problem, Tip, iso, walk

EVENTS = 4096
_COLUMNS = """seq, id::text, event_type, payload::text, prev_hash, hash, signature, signer_id, ts::text, created_at::text, metadata::text,
  version"""
_ROWS = f"SELECT {_COLUMNS} FROM audit_events WHERE seq > %s AND seq <= %s ORDER BY seq"  # noqa: S608 - our own columns
_BEFORE = "SELECT seq, hash, created_at::text FROM audit_events WHERE seq <= %s ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True)
class Stretch:
    """What a stretch was found to be; `told` has state table, key, seq and digest of each row its events told of last."""

    begins: Tip
    ends: Tip
    events: int
    leaves: bytes
    told: list[tuple[str, str, int, bytes]]
    problems: list[Problem]
    broken: int


def walk_stretch(connection: Connection, keys: Mapping[str, list[AuditKey]], after: int, to: int) -> Stretch:
    """Check the events with `after` < seq <= `to`, following the one before them."""
    begins = tip_at(connection, after)
    found = walk(begins, connection.execute(_ROWS, [after, to]).fetchall(), keys, PRIMARY_KEYS)
    told = [(table, key, seq, digest(row)) for (table, key), (seq, row) in found.told.items()]
    return Stretch(begins, found.tip, found.events, found.leaves, told, found.problems, found.broken)


def tip_at(connection: Connection, seq: int) -> Tip:
    """Return the last event up to this seq."""
    row = connection.execute(_BEFORE, [seq]).fetchone()
    return Tip(row[0], row[1], iso(row[2])) if row else Tip()
