"""Write one row and get all of it back, as its audit event needs it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Executable, RowMapping, Table, insert, select, update

from aiinfra_core.errors import NotFound


def full_row(table: Table, **values: Any) -> dict[str, Any]:
    """Return every column of a new row, those not given as None."""
    columns = [column.name for column in table.columns]
    assert set(values) <= set(columns), set(values) - set(columns)  # noqa: S101 - a slip of ours, not of a caller
    return {name: values.get(name) for name in columns}


def insert_row(tx: Connection, table: Table, **values: Any) -> dict[str, Any]:
    """Insert a row and return every column of it."""
    row = full_row(table, **values)
    tx.execute(insert(table), row)
    return row


def update_row(tx: Connection, table: Table, key: Any, **changes: Any) -> dict[str, Any]:
    """Change columns of the row with this id and return the whole row."""
    row = first(tx, update(table).where(table.c.id == key).values(**changes).returning(*table.c))
    assert row is not None  # noqa: S101 - callers hold the row's lock
    return row


def locked_row(tx: Connection, table: Table, key: Any, what: str) -> dict[str, Any]:
    """Lock the row with this id until the transaction ends and return it.

    Raises:
        NotFound: there is none.
    """
    return _found(first(tx, select(table).where(table.c.id == key).with_for_update()), what, key)


def row_by_id(tx: Connection, table: Table, key: Any, what: str) -> dict[str, Any]:
    """Return the row with this id.

    Raises:
        NotFound: there is none.
    """
    return _found(first(tx, select(table).where(table.c.id == key)), what, key)


def first(tx: Connection, query: Executable, values: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """Return the first row of a query, or None; `values` are its parameters or the columns it writes."""
    row = tx.execute(query, values).mappings().first()
    return None if row is None else _columns(row)


def every(tx: Connection, query: Executable, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return all rows of a query; `values` are its parameters."""
    return [_columns(row) for row in tx.execute(query, values).mappings()]


def _columns(row: RowMapping) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _found(row: dict[str, Any] | None, what: str, key: Any) -> dict[str, Any]:
    if row is None:
        raise NotFound(f"There is no {what} {key}.")
    return row
