"""The Merkle tree over the log, stored in tiles: grown from the events, read for proofs.

Tile T of level L holds the hashes of up to 256 complete subtrees of 256^L leaves each, in order; all of it follows from the events,
and whether it does is for `aiinfra audit verify` to say. Which tree head is signed, and where it is published, lives in `checkpoints`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, pairwise
from typing import Any

from sqlalchemy import Connection, RowMapping, select, text

from aiinfra_core import merkle
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.log_tables import audit_events

LEVEL_BITS = 8
TILE_HASHES = 1 << LEVEL_BITS
BATCH = 2048
_TILE_BYTES = TILE_HASHES * merkle.HASH_BYTES
_LAST_TILES = text(
    """
    SELECT levels.level, last.tile, last.hashes FROM generate_series(0, 7) AS levels (level)
    CROSS JOIN LATERAL (SELECT tile, hashes FROM audit_tiles WHERE level = levels.level ORDER BY tile DESC LIMIT 1) AS last
    ORDER BY levels.level
    """
)
_KEEP = text(
    """
    INSERT INTO audit_tiles (level, tile, hashes)
    SELECT * FROM unnest(CAST(:levels AS integer[]), CAST(:tiles AS bigint[]), CAST(:hashes AS bytea[]))
    ON CONFLICT (level, tile) DO UPDATE SET hashes = EXCLUDED.hashes WHERE audit_tiles.hashes <> EXCLUDED.hashes
    """
)
_READ = text(
    """
    SELECT level, tile, hashes FROM audit_tiles
    JOIN unnest(CAST(:levels AS integer[]), CAST(:tiles AS bigint[])) AS wanted (level, tile) USING (level, tile)
    """
)
_EVENTS = select(audit_events).order_by(audit_events.c.seq).limit(BATCH)

# Level -> the hashes in its last tile and the index of that tile.
_Edge = list[tuple[int, bytearray]]
# (level, tile) -> hashes
_Tiles = dict[tuple[int, int], bytes]


def grow(connection: Connection) -> int:
    """Take every event after the last tile into the tree, in batches, and return its size; one caller at a time.

    Each batch is one statement, so a caller killed on the way leaves a smaller tree that is whole.

    Raises:
        EvidenceBroken: at `audit_tiles` or `audit_events`; the levels do not fit together, or an event is missing.
    """
    edge = _edge(connection)
    size = _size(edge)
    while rows := connection.execute(_EVENTS.where(audit_events.c.seq > size)).mappings().all():
        _keep(connection, _extend(edge, _leaf_hashes(size, rows)))
        size += len(rows)
    return size


def size(connection: Connection) -> int:
    """Return how many events the tree holds."""
    return _size(_edge(connection))


def reader(connection: Connection) -> merkle.Node:
    """Return a reader of the tree's nodes; it reads each tile once, so keep it for one proof or many at one time.

    Raises:
        EvidenceBroken: when read, at `audit_tiles`; the node is not there.
    """
    read: _Tiles = {}

    def tile(level: int, number: int) -> bytes:
        if (level, number) not in read:
            read.update(_read(connection, [(level, number)]))
        return read.get((level, number), b"")

    return partial(_node, tile)


def proof(connection: Connection, make: Callable[[merkle.Node], list[bytes]]) -> list[bytes]:
    """Return what `make` makes of the tree's nodes; every tile it needs is read in one query.

    Raises:
        EvidenceBroken: at `audit_tiles`; a node is not there.
    """
    needed: dict[tuple[int, int], None] = {}

    def note(level: int, index: int) -> bytes:
        needed[level // LEVEL_BITS, (index << level % LEVEL_BITS) >> LEVEL_BITS] = None
        return bytes(merkle.HASH_BYTES)

    make(note)
    read = _read(connection, list(needed))
    return make(partial(_node, lambda level, number: read.get((level, number), b"")))


def _node(tile: Callable[[int, int], bytes], level: int, index: int) -> bytes:
    tile_level, inner = divmod(level, LEVEL_BITS)
    first = index << inner
    number, start = first >> LEVEL_BITS, (first % TILE_HASHES) * merkle.HASH_BYTES
    hashes = tile(tile_level, number)[start : start + (merkle.HASH_BYTES << inner)]
    if len(hashes) != merkle.HASH_BYTES << inner:
        raise EvidenceBroken("audit_tiles", f"tile {number} of level {tile_level} lacks hashes the tree has; see: aiinfra audit verify")
    return _root(hashes)


def _read(connection: Connection, places: Sequence[tuple[int, int]]) -> _Tiles:
    values = {"levels": [level for level, _ in places], "tiles": [number for _, number in places]}
    return {(row.level, row.tile): bytes(row.hashes) for row in connection.execute(_READ, values)}


def _edge(connection: Connection) -> _Edge:
    found = connection.execute(_LAST_TILES).all()
    if [row.level for row in found] != list(range(len(found))):
        raise EvidenceBroken("audit_tiles", "a level of the tree is missing; see: aiinfra audit verify")
    edge = [(row.tile, bytearray(row.hashes)) for row in found]
    for level, (below, above) in enumerate(pairwise([*edge, (0, bytearray())]), start=1):
        if _hashes(above) != _hashes(below) >> LEVEL_BITS:
            raise EvidenceBroken("audit_tiles", f"level {level} does not fit the one below; see: aiinfra audit verify")
    return edge


def _size(edge: _Edge) -> int:
    return _hashes(edge[0]) if edge else 0


def _hashes(last: tuple[int, bytearray]) -> int:
    number, hashes = last
    return number * TILE_HASHES + len(hashes) // merkle.HASH_BYTES


def _leaf_hashes(size: int, rows: Sequence[RowMapping]) -> Iterator[bytes]:
    for seq, row in zip(count(size + 1), rows, strict=False):
        if row["seq"] != seq:
            raise EvidenceBroken("audit_events", f"seq {seq} is missing.")
        yield merkle.leaf_hash(leaf(row))  # type: ignore[arg-type] # a mapping by column name


def _extend(edge: _Edge, hashes: Iterator[bytes]) -> dict[tuple[int, int], bytes]:
    """Put leaf hashes at the tree's edge and return every tile that changed."""
    changed: dict[tuple[int, int], bytes] = {}
    for item in hashes:
        _put(edge, 0, item, changed)
    changed |= {(level, number): bytes(tile) for level, (number, tile) in enumerate(edge) if tile}
    return changed


def _put(edge: _Edge, level: int, item: bytes, full: dict[tuple[int, int], bytes]) -> None:
    if level == len(edge):
        edge.append((0, bytearray()))
    number, tile = edge[level]
    if len(tile) == _TILE_BYTES:
        number, tile = edge[level] = (number + 1, bytearray())
    tile += item
    if len(tile) == _TILE_BYTES:
        full[level, number] = bytes(tile)
        _put(edge, level + 1, _root(tile), full)


def _keep(connection: Connection, tiles: dict[tuple[int, int], bytes]) -> None:
    values: dict[str, Any] = {
        "levels": [level for level, _ in tiles],
        "tiles": [number for _, number in tiles],
        "hashes": list(tiles.values()),
    }
    connection.execute(_KEEP, values)


# Of a power of two of hashes.
def _root(hashes: bytes | bytearray) -> bytes:
    level, width = bytes(hashes), merkle.HASH_BYTES
    while len(level) > width:
        level = b"".join(
            [merkle.node_hash(level[at : at + width], level[at + width : at + 2 * width]) for at in range(0, len(level), 2 * width)]
        )
    return level
