"""Compare state rows with what the last event told of them, and the copies in them with the signed envelopes they were copied from.

What events told is in `verified`; reading goes through a plain psycopg connection, because an audit reads every row there is.
"""

import marshal
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import DateTime, LargeBinary, Table, Text, Uuid

from aiinfra_core.audit_log.checking import envelopes
from aiinfra_core.audit_log.checking.verified import Verified
from aiinfra_core.audit_log.checking.walk import Problem, iso, moment_of, readable, rows_told
from aiinfra_core.audit_log.snapshot import INLINE_BYTES, snapshot
from aiinfra_core.columns import ExactJson
from aiinfra_core.domain.trust import Trust
from aiinfra_core.tables import STATE_TABLES, attestations

PRIMARY_KEYS: Mapping[str, tuple[str, ...]] = {
    table.name: tuple(column.name for column in table.primary_key.columns) for table in STATE_TABLES
}
BLOCKS = 256
BATCH = 500
_MARSHAL = 2  # the last format in which equal values give equal bytes, whatever else refers to them
# State table -> the column that names the envelope its `signature` and `signer_id` were copied from, or that says the same as the row.
_SIGNED_BY = {"model_artifacts": "attestation", "model_promotions": "manifest"}
_SAID_BY = dict.fromkeys(("reproductions", "artifact_scans", "approvals", "approval_withdrawals", "rollout_orders"), "attestation")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Connection = psycopg.Connection[Any]
_Told = tuple[int | None, bytes]


def digest(row: dict[str, Any]) -> bytes:
    """Return the digest of a row as an event tells of it, its columns in the order of their names; to compare only, never published.

    What is NULL is left out: events of earlier releases do not name the columns that came later.
    """
    return sha256(marshal.dumps({name: value for name, value in row.items() if value is not None}, _MARSHAL)).digest()


def parts(connection: Connection, table: Table) -> list[tuple[int, int | None]]:
    """Return a table's blocks in parts, the last one open."""
    query = "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::bigint"
    blocks = connection.execute(query, [table.name]).fetchone()
    last = blocks[0] if blocks else 0
    return [(start, start + BLOCKS if start + BLOCKS < last else None) for start in range(0, max(last, 1), BLOCKS)]


def compare_part(connection: Connection, verified: Verified, trust: Trust, table: Table, part: tuple[int, int | None]) -> list[Problem]:
    """Compare the rows in these blocks of a table."""
    start, end = part
    where: sql.Composable = sql.SQL("stands.ctid >= {}::tid").format(sql.Literal(f"({start},0)"))
    if end is not None:
        where += sql.SQL(" AND stands.ctid < {}::tid").format(sql.Literal(f"({end},0)"))
    return _compare(connection, verified, trust, table, where)


def compare_keys(connection: Connection, verified: Verified, trust: Trust, table: Table, keys: Sequence[str]) -> list[Problem]:
    """Compare the rows with these keys."""
    column, *more = PRIMARY_KEYS[table.name]
    if more:
        where = sql.SQL("{} = ANY ({})").format(_key(table), sql.Literal(list(keys)))
    elif isinstance(table.c[column].type, Uuid):
        ids = [key for key in keys if _UUID.fullmatch(key)]
        where = sql.SQL("stands.{} = ANY ({}::uuid[])").format(sql.Identifier(column), sql.Literal(ids))
    else:
        where = sql.SQL("stands.{} = ANY ({})").format(sql.Identifier(column), sql.Literal(list(keys)))
    return _compare(connection, verified, trust, table, where)


def doubled(connection: Connection, table: Table) -> list[str]:
    """Return keys that stand in more than one row; the database refuses them as long as its constraints are there."""
    query = sql.SQL("SELECT {} FROM {} AS stands GROUP BY 1 HAVING count(*) > 1 LIMIT 100")
    return [str(key) for (key,) in connection.execute(query.format(_key(table), sql.Identifier(table.name)))]


def number(connection: Connection, table: Table) -> int:
    """Return how many rows a table has."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table.name))).fetchone()
    return int(row[0]) if row else 0


def keys(connection: Connection, table: Table) -> Iterator[str]:
    """Yield every key of a table."""
    with connection.cursor(name="keys") as cursor:
        cursor.itersize = 10 * BATCH
        for (key,) in cursor.execute(sql.SQL("SELECT {} FROM {} AS stands").format(_key(table), sql.Identifier(table.name))):
            yield key


def _key(table: Table) -> sql.Composable:
    columns = [sql.SQL("coalesce(stands.{}::text, 'None')").format(sql.Identifier(name)) for name in PRIMARY_KEYS[table.name]]
    return sql.SQL(" || '/' || ").join(columns)


@dataclass(frozen=True)
class _Reading:
    """How the rows of a table are read: its columns by name, which of them are times or may be long, and the query."""

    names: tuple[str, ...]
    times: tuple[int, ...]
    long: tuple[int, ...]
    query: sql.Composable


@lru_cache
def _reading(table: Table) -> _Reading:
    columns = sorted(table.columns, key=lambda column: column.name)
    selected: list[sql.Composable] = [_key(table)]
    for column in columns:
        as_text = isinstance(column.type, (DateTime, ExactJson, Uuid))
        selected.append(sql.SQL("stands.{}::text" if as_text else "stands.{}").format(sql.Identifier(column.name)))
    joined: sql.Composable = sql.SQL("")
    if signed_by := (_SIGNED_BY | _SAID_BY).get(table.name):
        selected += [sql.SQL("signed.envelope"), sql.SQL("signed.signer_id")]
        joined = sql.SQL("LEFT JOIN attestations AS signed ON signed.digest = stands.{} ").format(sql.Identifier(signed_by))
    query = sql.SQL("SELECT {} FROM {} AS stands {}WHERE ").format(sql.SQL(", ").join(selected), sql.Identifier(table.name), joined)
    return _Reading(
        tuple(str.__str__(column.name) for column in columns),
        tuple(at for at, column in enumerate(columns) if isinstance(column.type, DateTime)),
        tuple(at for at, column in enumerate(columns) if isinstance(column.type, (Text, LargeBinary, ExactJson))),
        query,
    )


def _as_told(reading: _Reading, row: Sequence[Any]) -> dict[str, Any]:
    """Return a row as `snapshot` writes it; what follows its columns is of the envelope."""
    values = list(row[1 : 1 + len(reading.names)])
    for at in reading.times:
        if values[at] is not None:
            values[at] = iso(values[at])
    for at in reading.long:
        value = values[at]
        if value is not None and (len(value) > INLINE_BYTES // 4 or isinstance(value, bytes)):
            values[at] = snapshot({"value": value})["value"]
    return dict(zip(reading.names, values, strict=True))


def _compare(connection: Connection, verified: Verified, trust: Trust, table: Table, where: sql.Composable) -> list[Problem]:
    found, reading = list[Problem](), _reading(table)
    alone = table is not attestations and table.name not in _SIGNED_BY | _SAID_BY  # no envelope says the same
    with connection.cursor(name="state") as cursor:
        cursor.execute(reading.query + where)
        while rows := cursor.fetchmany(BATCH):
            told = verified.told(table.name, [row[0] for row in rows])
            times = _created(connection, told.values()) if table is attestations else {}
            for row in rows:
                if alone and row[0] in told and digest(_as_told(reading, row)) == told[row[0]][1]:
                    continue
                problems = _problems(connection, trust, table, row, told, times)
                found += [(f"{table.name} {row[0]}", problem) for problem in problems]
    return found


def _problems(
    connection: Connection, trust: Trust, table: Table, row: Sequence[Any], told: Mapping[str, _Told], times: Mapping[int, datetime]
) -> Iterator[str]:
    reading, key = _reading(table), row[0]
    if key not in told:
        yield "no event tells of this row"
        return
    now = _as_told(reading, row)
    seq, expected = told[key]
    if digest(now) != expected:
        yield _difference(now, _row_told(connection, table.name, key, seq))
    if table is attestations:
        envelope = row[1 + reading.names.index("envelope")]
        yield from envelopes.problems(now, envelope, trust, None if seq is None else seq - 1, times.get(seq or 0))
    elif table.name in _SIGNED_BY:
        yield from envelopes.copy_problems(now, *row[-2:])
    elif table.name in _SAID_BY:
        yield from envelopes.said_problems(now, row[-2])


def _created(connection: Connection, told: Iterable[_Told]) -> dict[int, datetime]:
    """Return seq -> when the log took in what an event told."""
    query = "SELECT seq, created_at::text FROM audit_events WHERE seq = ANY (%s)"
    found = connection.execute(query, [[seq for seq, _ in told if seq is not None]])
    times = {seq: moment_of(created) for seq, created in found}
    return {seq: moment for seq, moment in times.items() if moment is not None}


def _row_told(connection: Connection, table: str, key: str, seq: int | None) -> Mapping[str, Any]:
    if seq is None:
        payloads = connection.execute("SELECT payload::text FROM audit_outbox ORDER BY id DESC")
    else:
        payloads = connection.execute("SELECT payload::text FROM audit_events WHERE seq = %s", [seq])
    for (payload,) in payloads:
        for name, of, row in rows_told(readable(payload), PRIMARY_KEYS):
            if (name, of) == (table, key):
                return row
    return {}


def _difference(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    changed = [name for name in now if now[name] != before.get(name)] + sorted(before.keys() - now.keys())
    return f"{', '.join(changed) or 'something'} differs from its last event"
