"""Compare the stored tiles and every checkpoint, in the database and outside, with the tree that follows from the events."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from aiinfra_core import merkle
from aiinfra_core.audit_log import tiles
from aiinfra_core.audit_log.checking.state_rows import Connection as Plain
from aiinfra_core.audit_log.checking.tree import TILE_HASHES, Tile, in_level, tiles_of
from aiinfra_core.audit_log.checking.walk import Problem, moment_of
from aiinfra_core.domain.trust import Purpose, Trust
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import checkpoint as notes
from aiinfra_core.evidence.trust import keys_for

_HASH = merkle.HASH_BYTES


@dataclass(frozen=True)
class Inside:
    """A row of `audit_checkpoints`, times as Postgres writes them; `covered_at` is when the last event it covers was created."""

    size: int
    origin: str | None
    root: str | None
    note: bytes | None
    created_at: str | None
    covered_at: str | None


class StoredTiles:
    """The tiles in the database, compared tile by tile as the tree grows; `size` is how many events they claim to cover."""

    def __init__(self, connection: Plain, events: int) -> None:
        self._connection = connection
        last = connection.execute(
            "SELECT tile, length(hashes) FROM audit_tiles WHERE level = 0 AND tile IS NOT NULL ORDER BY tile DESC LIMIT 1"
        ).fetchone()
        self.size = last[0] * TILE_HASHES + (last[1] or 0) // _HASH if last else 0
        self._count = min(self.size, events)

    def problems(self, expected: Sequence[Tile]) -> Iterator[Problem]:
        """Yield what is wrong with these tiles; the last of each level may be stored in part."""
        query = """
            SELECT level, tile, hashes FROM audit_tiles
            JOIN unnest(%s::integer[], %s::bigint[]) AS wanted (level, tile) USING (level, tile)"""
        wanted = [[tile.level for tile in expected], [tile.number for tile in expected]]
        stored: dict[tuple[int, int], list[bytes | None]] = {}
        for level, number, hashes in self._connection.execute(query, wanted) if expected else ():
            stored.setdefault((level, number), []).append(hashes)
        for tile in expected:
            count = in_level(self._count, tile.level) - tile.number * TILE_HASHES
            right = tile.hashes[: _HASH * max(0, count)]
            if stored.get((tile.level, tile.number), []) != ([right] if right else []):
                yield f"audit_tiles level {tile.level} tile {tile.number}", "hashes are not what follows from the events"

    def problems_at_end(self, events: int, last_checkpoint: int) -> Iterator[Problem]:
        """Yield what is wrong with the tiles as a whole, once the tree has every event."""
        row = self._connection.execute("SELECT count(*) FROM audit_tiles").fetchone()
        stored, due = row[0] if row else 0, tiles_of(self._count)
        if self.size > events:
            yield "audit_tiles level 0", f"it covers {self.size} events where the log has {events}"
        elif self.size < last_checkpoint:
            yield "audit_tiles level 0", f"it covers {self.size} events where a checkpoint covers {last_checkpoint}"
        if stored != due:
            yield "audit_tiles", f"it has {stored} tiles where a tree of {self._count} events has {due}"


def inside(connection: Plain, after: int, to: int) -> list[Inside]:
    """Return the checkpoints the database has of a stretch, by size."""
    query = """
        SELECT stands.size, stands.origin, stands.root, stands.note, stands.created_at::text, covered.created_at::text
        FROM audit_checkpoints AS stands LEFT JOIN audit_events AS covered ON covered.seq = stands.size
        WHERE stands.size > %s AND stands.size <= %s ORDER BY stands.size"""
    return [Inside(*row) for row in connection.execute(query, [after, to])]


def check_inside(found: Inside, root: bytes | None, trust: Trust) -> Iterator[Problem]:
    """Yield what is wrong with a checkpoint of the database; `root` is the right one, None where no tree of that size follows."""
    place = f"audit_checkpoints size {found.size}"
    for problem in _problems(found.note, found.size, root, found.covered_at, trust, [found.origin] if found.origin in trust.logs else []):
        yield place, problem
    if found.root != (root or b"").hex():
        yield place, "root does not follow from the events"
    if found.created_at is None or found.created_at != found.covered_at:
        yield place, "created_at is not when the last event it covers was created"


def check_outside(place: str, size: int, note: bytes, root: bytes | None, covered_at: str | None, trust: Trust) -> Iterator[Problem]:
    """Yield what is wrong with a checkpoint that was published."""
    for problem in _problems(note, size, root, covered_at, trust, trust.logs):
        yield f"{place}/{size:020d}", problem


def covered_at(connection: Plain, sizes: Iterable[int]) -> Mapping[int, str]:
    """Return size -> when the last event of a log of that size was created."""
    query = "SELECT seq, created_at::text FROM audit_events WHERE seq = ANY (%s)"
    return dict(connection.execute(query, [list(sizes)]).fetchall())


def is_earlier(tx: Connection, size: int, claimed: bytes, now: int, root: bytes) -> bool:
    """Return whether a root is proven to be that of an earlier, smaller tree; whatever the stored tiles say, the proof decides."""
    try:
        merkle.verify_consistency(size, claimed, now, root, merkle.consistency_proof(size, now, tiles.reader(tx)))
    except (BadInput, EvidenceBroken):
        return False
    return True


def claimed_root(note: bytes | None) -> bytes:
    """Return the root a note names, empty where it is no checkpoint."""
    try:
        return notes.parse(note or b"").root
    except EvidenceBroken:
        return b""


def _problems(note: bytes | None, size: int, root: bytes | None, at: str | None, trust: Trust, origins: Sequence[str]) -> Iterator[str]:
    moment = moment_of(at)
    if moment is None:
        yield "the log has no event it could end with: its tail was cut, or an event is missing"
        return
    keys = list(keys_for(trust, Purpose.AUDIT, at=moment, index=size - 1).values())
    try:
        claimed = notes.parse(note or b"")
        if claimed.origin not in origins:
            yield f"origin {claimed.origin!r} is not the one of this log"
        notes.open_checkpoint(note or b"", claimed.origin, keys)
    except EvidenceBroken as error:
        yield f"note does not verify: {error}"
        return
    if claimed.size != size:
        yield f"note is of {claimed.size} events"
    elif claimed.root != root:
        yield "note commits to another history than the events"
