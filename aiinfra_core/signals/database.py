"""Ask a database for the counts of a signal, by the statement the operator wrote: read-only, bounded in time and rows."""

import logging
import math
import re
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from os import dup
from typing import Any

import psycopg
from psycopg import rows as row_kinds
from psycopg import sql

from aiinfra_core import outbound
from aiinfra_core.domain.rollout import Arm, Heard, Reading, Rollout
from aiinfra_core.domain.rollout_spec import SignalKind, SignalSpec
from aiinfra_core.settings import Settings
from aiinfra_core.signals.filling import counted_since, for_database
from aiinfra_core.signals.readings import Numbers, Unusable, check_fresh, counted

logger = logging.getLogger(__name__)
_NEEDED = ("arm", "units", "bad")
_NEWEST = "newest"
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
# As a part of another statement it can only be one that reads; that something is bound keeps it from being several.
_LIMITED = sql.SQL("SELECT * FROM (\n{}\n) AS counted LIMIT %(most_rows)s")
_PATIENCE = "SELECT set_config('statement_timeout', %(most)s, true)"
_Rows = Sequence[dict[str, Any]]


def read(settings: Settings, rollout: Rollout, signal: SignalSpec, previous: Reading | None, at: datetime) -> Reading:
    """Return the counts of a signal, or why there are none, within AI_INFRA_SIGNAL_SECONDS."""
    told = None if signal.query is None else signal.query.statement
    try:
        rows = _rows(settings, rollout, signal, told, at)
        for newest in (row[_NEWEST] for row in rows if _NEWEST in row):
            check_fresh(rollout.spec, _moment(newest), at)
        return counted(signal, _numbers(rows), previous=previous, through=at, seconds=signal.seconds, query=told)
    except Unusable as error:
        return error.reading(signal, told)


def _rows(settings: Settings, rollout: Rollout, signal: SignalSpec, statement: str | None, at: datetime) -> _Rows:
    if statement is None:
        raise Unusable(Heard.MALFORMED, "its query needs a `statement`")
    if signal.kind is SignalKind.LATENCY and signal.seconds is None:
        raise Unusable(Heard.MALFORMED, "a latency out of a database needs `seconds`: rows have no buckets to freeze a quantile of")
    if settings.signals_database_url is None:
        raise Unusable(Heard.UNREACHABLE, "AI_INFRA_SIGNALS_DATABASE_URL is not set, so there is nobody to ask")
    if at <= counted_since(rollout):
        raise Unusable(Heard.NO_DATA, "counting begins a little after the step did")
    text, values = for_database(statement.strip().removesuffix(";"), rollout, signal.seconds, at)
    return _answered(settings.signals_database_url.get_secret_value(), text, values, settings.signal_seconds)


def _answered(url: str, statement: str, values: dict[str, Any], seconds: float) -> _Rows:
    connections: list[psycopg.Connection[dict[str, Any]]] = []
    try:
        return outbound.within(seconds, partial(_asked, url, statement, values, seconds, connections))
    except TimeoutError:
        for connection in connections:
            _hang_up(connection)  # a server that says nothing would keep our thread for ever
        raise Unusable(Heard.UNREACHABLE, f"the database gave no whole answer within {seconds:g} s") from None
    except psycopg.errors.QueryCanceled:
        raise Unusable(Heard.UNREACHABLE, f"the database gave up on the statement after {seconds:g} s") from None
    except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise Unusable(Heard.MALFORMED, f"the statement cannot be asked: {_said(error)}") from None
    except psycopg.Error as error:
        logger.warning("The database of the signals: %s", type(error).__name__)
        raise Unusable(Heard.UNREACHABLE, f"the database cannot be asked: {_said(error)}") from None


def _asked(url: str, statement: str, values: dict[str, Any], seconds: float, connections: list[Any]) -> _Rows:
    began = time.monotonic()
    with psycopg.connect(url, connect_timeout=math.ceil(seconds), row_factory=row_kinds.dict_row) as connection:
        connections.append(connection)
        connection.read_only = True
        if time.monotonic() - began > seconds:
            return []  # nobody waits any more
        connection.execute(_PATIENCE, {"most": f"{math.ceil(seconds * 1000)}ms"})
        found = connection.execute(_LIMITED.format(sql.SQL(statement)), {**values, "most_rows": len(Arm) + 1}).fetchall()
        _check_columns(found)
        return found


def _check_columns(rows: _Rows) -> None:
    missing = [name for name in _NEEDED if rows and name not in rows[0]]
    if missing:
        raise Unusable(Heard.MALFORMED, f"the statement answers no {', '.join(missing)}; it must answer {', '.join(_NEEDED)}")


def _hang_up(connection: psycopg.Connection[Any]) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


def _numbers(rows: _Rows) -> Numbers:
    numbers = {_arm(row["arm"]): (_count(row["units"]), _count(row["bad"])) for row in rows}
    if len(numbers) != len(rows):
        raise Unusable(Heard.MALFORMED, "the statement answered several rows of one arm")
    return numbers


def _arm(value: Any) -> Arm:
    try:
        return Arm(value)
    except ValueError:
        raise Unusable(Heard.MALFORMED, f"the statement answered another arm; arms are {', '.join(Arm)}") from None


def _count(value: Any) -> int:
    if value is None:
        raise Unusable(Heard.NO_DATA, "the statement answered NULL for a count")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Unusable(Heard.MALFORMED, f"the statement answered {type(value).__name__} for a count")
    if not math.isfinite(value):
        raise Unusable(Heard.NOT_A_NUMBER, f"the statement answered {value:.6g} for a count")
    if value != int(value):
        raise Unusable(Heard.MALFORMED, f"the statement answered {value:.6g}, which is no number of units")
    return int(value)


def _moment(value: Any) -> datetime:
    if value is None:
        raise Unusable(Heard.NO_DATA, "the statement answered NULL for `newest`")
    if not isinstance(value, datetime):
        raise Unusable(Heard.MALFORMED, "the statement's `newest` is no timestamp")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _said(error: psycopg.Error) -> str:
    """Name an error by its SQLSTATE, in words: what the server says may quote what is in a row, and a look is kept for ever."""
    words = _WORDS.sub(" ", type(error).__name__).lower()
    return f"SQLSTATE {error.sqlstate} ({words})" if error.sqlstate else words
