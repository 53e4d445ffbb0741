"""Values an event holds only by digest (bytes, and texts over 4 KB): which ones, and their bytes out of the rows that have them.

How a value comes to stand by its digest lives in `snapshot`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Table, select, tuple_

from aiinfra_core import checksums
from aiinfra_core.tables import STATE_TABLES

_TABLES = {table.name: table for table in STATE_TABLES}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class Named:
    """One value: in which column of which row it stands, and what it must be; `key` is the row's primary key as text."""

    table: str
    column: str
    key: tuple[str, ...]
    sha256: str

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.table} {'/'.join(self.key)} {self.column}"


def named_in(payload: Mapping[str, Any]) -> list[Named]:
    """Return the values that an event's payload holds by digest."""
    rows = payload.get("rows")
    return [value for name, row in (rows.items() if isinstance(rows, dict) else ()) for value in _in_row(name, row)]


def _in_row(name: str, row: Any) -> Iterator[Named]:
    table = _TABLES.get(name)
    if table is None or not isinstance(row, dict):
        return
    key = tuple(str(row.get(column.name)) for column in table.primary_key.columns)
    for column, value in row.items():
        match value:
            case {"sha256": str(sha256), "size": int()} if column in table.c and _SHA256.fullmatch(sha256):
                yield Named(name, column, key, sha256)


def read(connection: Connection, wanted: Iterable[Named]) -> dict[str, bytes]:
    """Return digest -> bytes of those values that stand in their rows as they were named."""
    found = {}
    for (table, column), group in groupby(sorted(set(wanted)), key=lambda value: (value.table, value.column)):
        values = {value.key: value for value in group}
        for key, data in _column(connection, _TABLES[table], column, values):
            expected = values.get(key)
            if expected is not None and checksums.sha256_hex(data) == expected.sha256:
                found[expected.sha256] = data
    return found


def _column(connection: Connection, table: Table, column: str, keys: Iterable[tuple[str, ...]]) -> Iterator[tuple[tuple[str, ...], bytes]]:
    primary = list(table.primary_key.columns)
    query = select(*primary, table.c[column].label("wanted")).where(tuple_(*primary).in_(list(_typed(primary, keys))))
    for *key, value in connection.execute(query):
        data = value.encode() if isinstance(value, str) else value
        if isinstance(data, bytes):
            yield tuple(map(str, key)), data


def _typed(primary: list[Any], keys: Iterable[tuple[str, ...]]) -> Iterator[tuple[Any, ...]]:
    for key in keys:
        with suppress(TypeError, ValueError):  # no row can have such a key: its value is missing, and the event is set aside
            yield tuple(column.type.python_type(text) for column, text in zip(primary, key, strict=True))
