"""The stored Merkle tree: grown in any steps it is the tree over the events, and proofs are read from it."""

import pytest
from sqlalchemy import Connection, event, select, text

from aiinfra_core import database, merkle
from aiinfra_core.audit_log import tiles
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from tests.simulators.long_log import fill


@pytest.fixture(params=[8, 2], ids=["tiles of 256", "tiles of 4"])
def _tile_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep trees need millions of events with real tiles, and hundreds with small ones."""
    monkeypatch.setattr(tiles, "LEVEL_BITS", request.param)
    monkeypatch.setattr(tiles, "TILE_HASHES", 1 << request.param)
    monkeypatch.setattr(tiles, "_TILE_BYTES", 32 << request.param)


def _leaves(connection: Connection) -> list[bytes]:
    rows = connection.execute(select(audit_events).order_by(audit_events.c.seq)).mappings().all()
    return [merkle.leaf_hash(leaf({str(name): value for name, value in row.items()})) for row in rows]


@pytest.mark.usefixtures("_tile_size")
def test_a_tree_grown_in_odd_steps_is_the_tree_over_the_events(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_EVENTS", tiles._EVENTS.limit(100))
    with database.autocommit(settings) as connection:
        assert tiles.grow(connection) == tiles.size(connection) == 0
        for count in (1, 2, 253, 1, 66, 300):
            fill(settings, count, audit_signer(settings))
            size = tiles.grow(connection)
            leaves = _leaves(connection)
            assert size == tiles.size(connection) == len(leaves)
            node = tiles.reader(connection)
            assert merkle.root_at(size, node) == merkle.root(leaves)
        for level in range(size.bit_length()):
            for index in range(size >> level):
                assert node(level, index) == merkle.root(leaves[index << level : (index + 1) << level])


@pytest.mark.usefixtures("_tile_size")
def test_proofs_are_read_from_tiles_each_once(settings: Settings) -> None:
    fill(settings, 300, audit_signer(settings))
    with database.autocommit(settings) as connection:
        tiles.grow(connection)
        leaves = _leaves(connection)
        roots = {size: merkle.root(leaves[:size]) for size in (1, 7, 255, 256, 257, 300)}
        for size, root in roots.items():
            for index in range(0, size, 13):
                proof = merkle.inclusion_proof(index, size, tiles.reader(connection))
                merkle.verify_inclusion(leaves[index], index, size, proof, root)
            proof = merkle.consistency_proof(size, 300, tiles.reader(connection))
            merkle.verify_consistency(size, root, 300, roots[300], proof)
        read: list[object] = []
        event.listen(connection, "before_cursor_execute", lambda *told: read.append(told[3]))
        proof = merkle.inclusion_proof(299, 300, tiles.reader(connection))
        assert len(read) == len(set(map(str, read))) <= 10
        read.clear()
        assert tiles.proof(connection, lambda node: merkle.inclusion_proof(299, 300, node)) == proof
        assert len(read) == 1


def test_what_is_not_in_the_tiles_is_no_node(settings: Settings) -> None:
    fill(settings, 300, audit_signer(settings))
    with database.autocommit(settings) as connection:
        tiles.grow(connection)
        node = tiles.reader(connection)
        for level, index in ((0, 300), (3, 37), (8, 1), (9, 0), (16, 0), (40, 0)):
            with pytest.raises(EvidenceBroken, match=r"^audit_tiles: "):
                node(level, index)


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM audit_tiles WHERE level = 0",
        "DELETE FROM audit_tiles WHERE level = 1",
        "UPDATE audit_tiles SET hashes = substring(hashes FOR 32) WHERE level = 1",
        "DELETE FROM audit_events WHERE seq = 602",
    ],
)
def test_a_tree_that_does_not_fit_together_is_not_grown(settings: Settings, harm: str) -> None:
    fill(settings, 600, audit_signer(settings))
    with database.autocommit(settings) as connection:
        tiles.grow(connection)
    fill(settings, 10, audit_signer(settings))
    assert settings.database_url is not None
    with database.connection(settings) as connection:
        connection.execute(text("RESET ROLE"))
        connection.execute(text("ALTER TABLE audit_tiles DISABLE TRIGGER USER"))
        connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER USER"))
        connection.execute(text(harm))
        connection.commit()
    with database.autocommit(settings) as connection, pytest.raises(EvidenceBroken, match=r"^audit_(tiles|events): "):
        tiles.grow(connection)
