"""Connections and transactions. SQL lives in `registry` and `audit_log`; bringing the schema up to date in `migrate`."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

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
_LOCK, _UNLOCK = text("SELECT pg_advisory_lock(:key)"), text("SELECT pg_advisory_unlock(:key)")
_TRY_LOCK = text("SELECT pg_try_advisory_lock(:key)")


def engine_for(settings: Settings) -> Engine:
    """Return the process's engine for the configured database.

    Raises:
        Misconfigured: no database is configured.
    """
    return _engine(url(settings))


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
    """Close the connections this process keeps; the next use makes new ones."""
    for engine in _ENGINES.values():
        engine.dispose()
    _ENGINES.clear()


def _engine(url: str) -> Engine:
    return _ENGINES.get(url) or _ENGINES.setdefault(url, _made_engine(url))


def _made_engine(url: str) -> Engine:
    engine = create_engine(url, pool_size=8, max_overflow=24, pool_timeout=30, pool_pre_ping=False, connect_args={"connect_timeout": 10})
    event.listen(engine, "connect", _take_on_app_role)
    return engine


@lru_cache(maxsize=16)
def _autocommit_engine(engine: Engine) -> Engine:
    return engine.execution_options(isolation_level="AUTOCOMMIT")


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
    with _lost_database_is_unavailable(), _autocommit_engine(engine_for(settings)).connect() as conn:
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
def _lost_database_is_unavailable() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable("database", "The database cannot be reached or was lost on the way; ask again when it is back.") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("database", "The database connection was lost on the way; ask again.") from error
        raise
