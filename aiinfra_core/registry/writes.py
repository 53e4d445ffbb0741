"""Parts of statements that change rows and tell of it in one go: both are kept or neither, in a single round trip.

A statement is a chain of CTEs: each part acts only if the one before it did, and the event at the end only if all did. They are
built once, at import; `values` names what they bind.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import CTE, Column, ColumnElement, Select, Table, Text, bindparam, cast, select
from sqlalchemy.dialects.postgresql import JSON, Insert, insert
from sqlalchemy.sql.dml import ReturningInsert

from aiinfra_core.tables import ExactJson, audit_outbox


def inserted(table: Table, after: CTE) -> CTE:
    """Insert one row if the part before did something; a key that is taken is an error, and then nothing at all is done."""
    return _insert(table, after).returning(*table.primary_key.columns).cte(f"inserted_{table.name}")


def inserted_if_new(table: Table, after: CTE | None = None) -> CTE:
    """Insert one row, if the part before did something; where its key is taken nothing is inserted, and nothing follows."""
    return _insert(table, after).on_conflict_do_nothing().returning(*table.primary_key.columns).cte(f"new_{table.name}")


def told(after: CTE) -> ReturningInsert[tuple[int]]:
    """Put the event into the outbox if the part before did something."""
    columns = [audit_outbox.c.event_type, audit_outbox.c.payload]
    query = insert(audit_outbox).from_select([column.name for column in columns], _bound(columns, "event").select_from(after))
    return query.returning(audit_outbox.c.id)


def values(prefix: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row under the names its statement binds: the table's name for an insert, `set` for an update."""
    return {f"{prefix}_{name}": value for name, value in row.items()}


def to_set(table: Table, *names: str) -> dict[str, ColumnElement[Any]]:
    """Return the new values of columns, bound under `set`."""
    return {name: _bind(table.c[name], "set") for name in names}


def _insert(table: Table, after: CTE | None) -> Insert:
    row = _bound(table.columns, table.name)
    return insert(table).from_select([column.name for column in table.columns], row if after is None else row.select_from(after))


def _bound(columns: Iterable[Column[Any]], prefix: str) -> Select[Any]:
    return select(*(_bind(column, prefix).label(column.name) for column in columns))


def _bind(column: Column[Any], prefix: str) -> ColumnElement[Any]:
    name = f"{prefix}_{column.name}"
    if isinstance(column.type, ExactJson):
        return cast(bindparam(name, type_=Text), JSON)
    return bindparam(name, type_=column.type)
