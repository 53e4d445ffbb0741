"""Walking a stretch of the log: the fast look agrees with the definitions, and each thing that may be wrong is named."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import canonical_json, merkle
from aiinfra_core.audit_log.checking.tree import Tree, tiles_of
from aiinfra_core.audit_log.checking.walk import Row, Tip, Walked, audit_keys, iso, walk
from aiinfra_core.domain.trust import Compromise, Purpose, Trust, TrustedKey
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.signing import local

SIGNER = local.from_base64(local.generate())
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
KEYS = {"models": ("name",), "environment_pointers": ("environment", "model")}


def trust(**changes: Any) -> Trust:
    key = SIGNER.public_key
    entry = {"keyid": key.keyid, "public_key": key.base64, "signer_id": "ada", "owner": "ops", "purposes": (Purpose.AUDIT,)}
    return Trust(keys=(TrustedKey(**entry | changes),), logs=("test/log",))


def events(payloads: list[str]) -> list[dict[str, Any]]:
    head, made = Head(), []
    for payload in payloads:
        row = follow(head, payload)
        row["signature"] = base64.b64encode(SIGNER.sign(bytes.fromhex(row["hash"]))).decode()
        made.append(row | {"signer_id": "ada"})
        head = head_after(row)
    return made


def as_read(row: dict[str, Any]) -> Row:
    """Write a row as Postgres does."""
    times = {name: f"{row[name]:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + "+00" for name in ("ts", "created_at")}
    return Row(**row | times | {"id": str(row["id"])})


def payload(number: int, text: str = "", **more: Any) -> str:
    moment = timestamp(BEGAN + timedelta(milliseconds=number))
    return canonical_json.dumps({"type": "model.named", "time": moment, "actor": text, "rows": {}} | more).decode()


def walked(rows: list[dict[str, Any]], trusted: Trust | None = None) -> Walked:
    return walk(Tip(), [as_read(row) for row in rows], audit_keys(trusted or trust()), KEYS)


@given(st.lists(st.tuples(st.integers(-10, 10), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)), max_size=8))
def test_leaves_and_tip_are_those_of_the_definitions_and_nothing_is_wrong(made: list[tuple[int, str]]) -> None:
    rows = events([payload(number, text) for number, text in made])
    found = walked(rows)
    assert found.problems == []
    assert found.leaves == b"".join(merkle.leaf_hash(leaf(row)) for row in rows)
    assert found.tip == (Tip(len(rows), rows[-1]["hash"], timestamp(rows[-1]["created_at"])) if rows else Tip())


OTHER: dict[str, Any] = {"version": 2, "metadata": '{"a":1}', "prev_hash": "0" * 64, "id": "6f0f3d5c-6a0e-5b0d-9d8e-0a7c4f0e2b11"}


@pytest.mark.parametrize("column", [name for name in Row._fields if name not in ("seq", "payload")])
def test_a_changed_column_is_named_where_it_stands(column: str) -> None:
    rows = events([payload(number) for number in range(4)])
    value = rows[2][column]
    later = value + timedelta(seconds=1) if isinstance(value, datetime) else None
    rows[2][column] = OTHER.get(column) or later or f"x{value}"
    found = walked(rows)
    place, problem = found.problems[0]
    assert (place, column in problem) == ("audit_events seq 3", True)
    others = {where for where, _ in found.problems} - {place}
    assert others <= ({"audit_events seq 4"} if column in ("hash", "created_at") else set())


@pytest.mark.parametrize(
    "forged", ["", "{}", "[]", '{"type":"a","time":"now"}', '{"type":"a","type":"b","time":"2026-03-01T00:00:00.000000Z"}']
)
def test_a_payload_that_is_no_event_is_named(forged: str) -> None:
    rows = events([payload(number) for number in range(3)])
    rows[1]["payload"] = forged
    assert ("audit_events seq 2", "payload is not an event, or does not follow the one before it") in walked(rows).problems


def test_the_last_row_told_of_counts() -> None:
    rows = [{"models": {"name": "rain", "last_version": version}} for version in (1, 2)]
    rows.append({"environment_pointers": {"environment": "prod", "model": "rain"}, "strangers": {"name": "x"}})
    found = walked(events([payload(number, rows=told) for number, told in enumerate(rows)]))
    assert {place: seq for place, (seq, _) in found.told.items()} == {("models", "rain"): 2, ("environment_pointers", "prod/rain"): 3}


def _wrong_times() -> Iterator[tuple[dict[str, Any], list[int]]]:
    yield {"valid_from": BEGAN + timedelta(milliseconds=2)}, [1, 2]
    yield {"valid_until": BEGAN + timedelta(milliseconds=2)}, [3, 4]
    yield {"compromise": Compromise(reported_at=BEGAN, reason="lost", bad_from_index=1)}, [2, 3, 4]


@pytest.mark.parametrize(("changes", "wrong"), list(_wrong_times()))
def test_a_key_counts_at_its_time_and_place_only(changes: dict[str, Any], wrong: list[int]) -> None:
    found = walked(events([payload(number) for number in range(4)]), trust(**changes))
    problem = "signer_id ada had no trusted key at that time and place of the log"
    assert found.problems == [(f"audit_events seq {seq}", problem) for seq in wrong]


def test_a_key_for_something_else_or_of_somebody_else_does_not_count() -> None:
    rows = events([payload(1)])
    for trusted in (trust(purposes=(Purpose.PROMOTION,)), trust(signer_id="bob")):
        assert walked(rows, trusted).problems == [("audit_events seq 1", "signer_id ada has no trusted key")]


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "", "0044-03-15 00:00:00+00 BC", "12026-03-01 00:00:00+00", None])
def test_what_is_no_time_of_ours_is_no_time(moment: str | None) -> None:
    rows = [as_read(row) for row in events([payload(number) for number in range(2)])]
    rows[1] = rows[1]._replace(created_at=moment)  # type: ignore[arg-type] # as an administrator may leave it
    found = walk(Tip(), rows, audit_keys(trust()), KEYS)
    assert [place for place, _ in found.problems] == ["audit_events seq 2"] * len(found.problems)
    assert found.problems
    assert iso(moment) != timestamp(BEGAN)


@given(st.lists(st.integers(1, 700), max_size=5))
def test_a_tree_grown_in_pieces_has_the_root_and_the_tiles_of_the_whole(pieces: list[int]) -> None:
    leaves = [merkle.leaf_hash(bytes([number % 251])) for number in range(sum(pieces))]
    tree, at, tiles = Tree(), 0, []
    for piece in pieces:
        tiles += Tree.extend(tree, b"".join(leaves[at : at + piece]))
        tree, at = Tree.read(tree.written()), at + piece
        assert tree.root == merkle.root(leaves[:at])
    tiles += tree.unfilled()
    assert len(tiles) == tiles_of(len(leaves))
    assert b"".join(tile.hashes for tile in tiles if tile.level == 0) == b"".join(leaves)
    for tile in tiles:
        if tile.level == 1:
            first = tile.number * 256 * 256
            assert tile.hashes[:32] == merkle.root(leaves[first : first + 256])
