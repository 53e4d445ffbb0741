"""Rows written into an event and read out of it again are the same rows, whatever stands in them."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, DateTime, Integer, LargeBinary, Table, Uuid

from aiinfra_core import canonical_json, checksums
from aiinfra_core.audit_log.delivering.values import named_in
from aiinfra_core.audit_log.snapshot import snapshot
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.registry.restoring import rows_of
from aiinfra_core.tables import STATE_TABLES

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def _value(column: Column[Any]) -> st.SearchStrategy[Any]:
    values: st.SearchStrategy[Any]
    match column.type:
        case Uuid():
            values = st.uuids()
        case DateTime():
            values = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))
        case LargeBinary():
            values = st.binary()
        case Integer() | BigInteger():
            values = st.integers(-(2**53) + 1, 2**53 - 1)
        case _:
            values = _TEXT | _TEXT.map(lambda text: (text or "ä") * 5000)
    return values | st.none() if column.nullable else values


def _row(table: Table) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({column.name: _value(column) for column in table.columns})


def _written(rows: dict[str, dict[str, Any]]) -> Any:
    return canonical_json.loads(canonical_json.dumps({"rows": {name: snapshot(row) for name, row in rows.items()}}))


def _by_digest(rows: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    data = [value.encode() if isinstance(value, str) else value for row in rows.values() for value in row.values()]
    return {checksums.sha256_hex(value): value for value in data if isinstance(value, bytes)}


def _rows_of_some_tables() -> st.SearchStrategy[dict[str, dict[str, Any]]]:
    some = st.lists(st.sampled_from(STATE_TABLES), unique=True, max_size=3)
    return some.flatmap(lambda tables: st.fixed_dictionaries({table.name: _row(table) for table in tables}))


@given(_rows_of_some_tables())
def test_rows_come_out_of_an_event_as_they_went_in(rows: dict[str, dict[str, Any]]) -> None:
    told = _written(rows)
    every = _by_digest(rows)
    named = {value.sha256: every[value.sha256] for value in named_in(told)}
    assert rows_of(told["rows"], named) == rows


@given(_row(STATE_TABLES[0]))
def test_a_value_that_is_not_at_hand_is_no_row(row: dict[str, Any]) -> None:
    with pytest.raises(EvidenceBroken, match="holds what no row can"):
        rows_of(_written({STATE_TABLES[0].name: row})["rows"], {})


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        "rows",
        {"pg_authid": {}},
        {"models": None},
        {"models": []},
        {"models": {"zz": 1}},
        {"models": {"created_at": "2026-01-01"}},
        {"models": {"created_at": 5}},
        {"evaluations": {"id": 5}},
        {"evaluations": {"id": ["x"]}},
        {"attestations": {"envelope": "text"}},
        {"attestations": {"envelope": {"sha256": []}}},
    ],
)
def test_what_is_no_row_is_refused(told: Any) -> None:
    with pytest.raises(EvidenceBroken):
        rows_of(told, {})


@given(st.recursive(st.none() | st.integers() | _TEXT, lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner), max_leaves=10))
def test_nothing_that_an_event_can_hold_breaks_the_reader(told: Any) -> None:
    for rows in (told, {"models": told}, {"attestations": {"envelope": told}}):
        named_in({"rows": rows})
        try:
            rows_of(rows, {})
        except EvidenceBroken:
            continue
