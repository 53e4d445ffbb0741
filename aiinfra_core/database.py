"""Connections and transactions. SQL lives in `registry` and `audit_log`; bringing the schema up to date in `migrate`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from aiinfra_core.errors import Misconfigured, Unavailable
from aiinfra_core.settings import Settings

APP_ROLE = "aiinfra_app"

# The role may exist in the cluster for another database: it is taken on only where it was given its rights.
_TAKE_ROLE = """
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'aiinfra_app')
   AND to_regclass('audit_events') IS NOT NULL
   AND (SELECT bool_and(has_table_privilege(r.oid, 'audit_events', 'INSERT') AND pg_has_role(current_user, r.oid, 'MEMBER'))
        FROM pg_roles r WHERE r.rolname = 'aiinfra_app')
"""


_ENGINES: dict[str, Engine] = {}
_PROCESS_LOCKS: dict[str, "_ProcessLocks"] = {}
_LOCK, _UNLOCK = text("SELECT pg_advisory_lock(:key)"), text("SELECT pg_advisory_unlock(:key)")
_PATIENCE = text("SELECT set_config('statement_timeout', :most, false)")
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")


def engine_for(settings: Settings) -> Engine:
    """Return the process's engine for the configured database, whose connections begin transactions.

    Raises:
        Misconfigured: no database is configured.
    """
    return _in_transactions(_engine(url(settings)))


def url(settings: Settings) -> str:
    """Return the address of the configured database; it may hold a password.

    Raises:
        Misconfigured: no database is configured.
    """
    if settings.database_url is None:
        raise Misconfigured("No database is configured; set AI_INFRA_DATABASE_URL.")
    return settings.database_url.get_secret_value()


def in_use(settings: Settings) -> bool:
    """Tell whether this process keeps connections to the configured database."""
    return url(settings) in _ENGINES


def close_connections() -> None:
    """Close the connections this process keeps, those in use when they come back; the next use makes new ones."""
    for locks in list(_PROCESS_LOCKS.values()):
        locks.close()
    for engine in list(_ENGINES.values()):
        event.listen(engine.pool, "checkin", _close)
        engine.dispose()
    _PROCESS_LOCKS.clear()
    _ENGINES.clear()


def _close(_connection: Any, record: Any) -> None:
    record.invalidate()


def _engine(url: str) -> Engine:
    return _ENGINES.get(url) or _ENGINES.setdefault(url, _made_engine(url))


# Most calls are single statements: connections are kept in autocommit, so that those need not switch it on and off each time.
def _made_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        pool_size=24,
        max_overflow=8,
        pool_timeout=30,
        pool_use_lifo=True,
        pool_pre_ping=False,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        connect_args={"connect_timeout": 10},
    )
    event.listen(engine, "connect", _take_on_app_role)
    return engine


@lru_cache(maxsize=16)
def _in_transactions(engine: Engine) -> Engine:
    return engine.execution_options(isolation_level="READ COMMITTED")


def _take_on_app_role(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(_TAKE_ROLE)
        if cursor.fetchone()[0]:
            cursor.execute(f"SET ROLE {APP_ROLE}")
    connection.commit()


@contextmanager
def connection(settings: Settings) -> Iterator[Connection]:
    """Give a connection without a transaction of its own.

    Raises:
        Unavailable: the database cannot be reached or was lost on the way.
    """
    with _lost_database_is_unavailable(), engine_for(settings).connect() as conn:
        yield conn


@contextmanager
def transaction(settings: Settings) -> Iterator[Connection]:
    """Give a transaction that commits at the end of the block and rolls back on any error.

    Raises:
        Unavailable: the database cannot be reached or was lost on the way.
    """
    with _lost_database_is_unavailable(), engine_for(settings).begin() as tx:
        yield tx


@contextmanager
def autocommit(settings: Settings) -> Iterator[Connection]:
    """Give a connection on which each statement is a transaction of its own; it saves the round trips of one around it.

    Raises:
        Unavailable: the database cannot be reached or was lost on the way.
    """
    with _lost_database_is_unavailable(), _engine(url(settings)).connect() as conn:
        yield conn


@contextmanager
def impatient(settings: Settings, seconds: int) -> Iterator[Connection]:
    """Give a connection made for this block alone that waits no longer than so many seconds for anything; each statement is a transaction.

    Raises:
        Unavailable: the database cannot be reached, was lost on the way, or takes longer.
    """
    patience = {"connect_timeout": seconds, "tcp_user_timeout": 1000 * seconds}
    engine = create_engine(url(settings), poolclass=NullPool, connect_args=patience, isolation_level="AUTOCOMMIT")
    with _lost_database_is_unavailable(), engine.connect() as conn:
        conn.execute(_PATIENCE, {"most": f"{seconds}s"})
        yield conn


@contextmanager
def snapshot(settings: Settings) -> Iterator[Connection]:
    """Give a transaction that reads one consistent state of the database.

    Raises:
        Unavailable: the database cannot be reached or was lost on the way.
    """
    with connection(settings) as conn, conn.execution_options(isolation_level="REPEATABLE READ").begin():
        yield conn


@contextmanager
def advisory_lock(settings: Settings, key: int) -> Iterator[Connection]:
    """Hold a session lock, waiting for it if somebody else has it; give the connection that holds it.

    Each statement on that connection is a transaction of its own.

    The lock goes with the connection: a killed holder lets go of it at once.
    """
    with autocommit(settings) as conn:
        conn.execute(_LOCK, {"key": key})
        try:
            yield conn
        finally:
            if not (conn.invalidated or conn.closed):
                conn.execute(_UNLOCK, {"key": key})


@contextmanager
def free_advisory_lock(settings: Settings, key: int) -> Iterator[Connection | None]:
    """Hold a session lock as `advisory_lock` does if nobody has it; give None if somebody has."""
    with autocommit(settings) as conn:
        if not conn.execute(_TRY_LOCK, {"key": key}).scalar_one():
            yield None
            return
        try:
            yield conn
        finally:
            if not (conn.invalidated or conn.closed):
                conn.execute(_UNLOCK, {"key": key})


@contextmanager
def lock_of_process(settings: Settings, key: int) -> Iterator[bool]:
    """Hold a session lock on the one connection this process keeps for all of them; give False if anybody has it, here or elsewhere.

    It is for courtesy only: when that connection is lost, so are its locks, and nobody is told.

    Raises:
        Unavailable: the database cannot be reached.
    """
    locks = _PROCESS_LOCKS.get(url(settings)) or _PROCESS_LOCKS.setdefault(url(settings), _ProcessLocks(_engine(url(settings))))
    with _lost_database_is_unavailable():
        taken = locks.take(key)
    try:
        yield taken
    finally:
        if taken:
            locks.give_back(key)


class _ProcessLocks:
    def __init__(self, engine: Engine) -> None:
        self._engine, self._turn = engine, threading.Lock()
        self._held: set[int] = set()
        self._connection: Connection | None = None

    def take(self, key: int) -> bool:
        with self._turn:
            if key in self._held:
                return False
            try:
                taken = self._asked(_TRY_LOCK, key)
            except (OperationalError, InterfaceError):
                self.close()
                taken = self._asked(_TRY_LOCK, key)
            if taken:
                self._held.add(key)
            return taken

    def give_back(self, key: int) -> None:
        with self._turn:
            self._held.discard(key)
            try:
                self._asked(_UNLOCK, key)
            except DBAPIError:
                self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
        self._connection = None

    def _asked(self, statement: TextClause, key: int) -> bool:
        if self._connection is None:
            self._connection = self._engine.connect()
        return bool(self._connection.execute(statement, {"key": key}).scalar_one())


@contextmanager
def _lost_database_is_unavailable() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable("database", "The database cannot be reached or was lost on the way; ask again when it is back.") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("database", "The database connection was lost on the way; ask again.") from error
        raise
