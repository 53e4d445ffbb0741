"""Parts of statements that change rows and tell of it in one go: both are kept or neither, in a single round trip.

A statement is a chain of CTEs: each part acts only if the one before it did, and the event at the end only if all did. They are
built once, at import; `values` names what they bind.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, Connection, CursorResult, Select, Table, Text, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import JSON, Insert, insert, psycopg
from sqlalchemy.sql.dml import ReturningInsert

from aiinfra_core.columns import ExactJson
from aiinfra_core.log_tables import audit_outbox


def inserted(table: Table, after: CTE, named: str | None = None, **known: ColumnElement[Any]) -> CTE:
    """Insert one row if the part before did something; a key that is taken is an error, and then nothing at all is done.

    It binds under `named`, or the table's name. `known` are columns whose value only an earlier part knows: subqueries of one row.
    """
    named = named or table.name
    return _insert(table, after, known, named).returning(*table.primary_key.columns).cte(f"inserted_{named}")


def inserted_if_new(table: Table, after: CTE | None = None) -> CTE:
    """Insert one row, if the part before did something; where its key is taken nothing is inserted, and nothing follows."""
    return _insert(table, after).on_conflict_do_nothing().returning(*table.primary_key.columns).cte(f"new_{table.name}")


def told(after: CTE, named: str = "event") -> ReturningInsert[tuple[int]]:
    """Put the event into the outbox if the part before did something."""
    columns = [audit_outbox.c.event_type, audit_outbox.c.payload]
    query = insert(audit_outbox).from_select([column.name for column in columns], _bound(columns, named).select_from(after))
    return query.returning(audit_outbox.c.id)


def told_with(after: CTE, *known: ColumnElement[Any]) -> CTE:
    """Put an event into the outbox whose text has gaps (`with_gaps`), filled in this order by what only earlier parts know."""
    texts: list[ColumnElement[Any]] = [bindparam("event_text_0", type_=Text)]
    for number, value in enumerate(known, start=1):
        texts += [cast(value, Text), bindparam(f"event_text_{number}", type_=Text)]
    row = select(_bind(audit_outbox.c.event_type, "event"), cast(func.concat(*texts), JSON)).select_from(after)
    return insert(audit_outbox).from_select(["event_type", "payload"], row).returning(audit_outbox.c.id).cte("told")


def with_gaps(event: Mapping[str, str], gaps: Sequence[str]) -> dict[str, str]:
    """Return what `told_with` binds: an event's text without these pieces of it, which are there once each, in this order.

    The text around a gap is canonical already; what fills it must be, too.
    """
    texts: list[str] = []
    rest = event["payload"]
    for gap in gaps:
        before, found, rest = rest.partition(gap)
        assert found, gap  # noqa: S101 - a slip of ours: the event has another form than the statement
        texts.append(before)
    return {"event_event_type": event["event_type"]} | {f"event_text_{number}": text for number, text in enumerate([*texts, rest])}


def as_text(statement: Select[Any]) -> Callable[[Connection, Mapping[str, Any]], CursorResult[Any]]:
    """Return what carries a statement out whose text is made here, once: for those that are asked for hundreds of times a second.

    What it binds and what it returns are as the driver has them.
    """
    compiled = statement.compile(dialect=psycopg.dialect())  # type: ignore[no-untyped-call] # as SQLAlchemy has it
    text, fixed = str(compiled), {name: value for name, value in compiled.params.items() if value is not None}
    return lambda connection, bound: connection.exec_driver_sql(text, {**fixed, **bound})


def values(prefix: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row under the names its statement binds: the table's name for an insert, `set` for an update."""
    return {f"{prefix}_{name}": value for name, value in row.items()}


def to_set(table: Table, *names: str, named: str = "set") -> dict[str, ColumnElement[Any]]:
    """Return the new values of columns, bound under `set`, or another name where one statement changes several rows."""
    return {name: _bind(table.c[name], named) for name in names}


def _insert(table: Table, after: CTE | None, known: Mapping[str, ColumnElement[Any]] | None = None, named: str | None = None) -> Insert:
    row = _bound(table.columns, named or table.name, known or {})
    return insert(table).from_select([column.name for column in table.columns], row if after is None else row.select_from(after))


def _bound(columns: Iterable[Column[Any]], prefix: str, known: Mapping[str, ColumnElement[Any]] | None = None) -> Select[Any]:
    known = known or {}
    return select(*(known.get(column.name, _bind(column, prefix)).label(column.name) for column in columns))


def _bind(column: Column[Any], prefix: str) -> ColumnElement[Any]:
    name = f"{prefix}_{column.name}"
    if isinstance(column.type, ExactJson):
        return cast(bindparam(name, type_=Text), JSON)
    return bindparam(name, type_=column.type)
