"""Bring a database's schema up to date from `sql/migrations`, and give the product's role its rights (`sql/roles.sql`)."""

from pathlib import Path
from typing import Any

import psycopg

from aiinfra_core.errors import Misconfigured, Unavailable

_LOCK = 0x4149494E  # one migrator at a time


def sql_folder() -> Path:
    """Return the folder with schema.sql, roles.sql and migrations: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return next(folder for folder in (package / "sql", package.parent / "sql") if (folder / "schema.sql").exists())


def migrate(database_url: str) -> list[str]:
    """Apply the migrations that are missing, in order, each all or nothing; return their names.

    Raises:
        Misconfigured: the database holds other tables of these names, or is newer than this release.
        Unavailable: the database cannot be reached.
    """
    known = {path.stem: path for path in sorted((sql_folder() / "migrations").glob("*.sql"))}
    with _connect(database_url) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        applied = _applied(connection)
        if newer := sorted(applied - set(known)):
            raise Misconfigured(f"The database was migrated by a newer release ({', '.join(newer)}); update this one.")
        missing = [name for name in known if name not in applied]
        for name in missing:
            _apply(connection, known[name])
        return missing


def pending(database_url: str) -> list[str]:
    """Return the names of migrations the database does not have yet."""
    with _connect(database_url) as connection:
        applied = _applied(connection)
    return [path.stem for path in sorted((sql_folder() / "migrations").glob("*.sql")) if path.stem not in applied]


def differences(database_url: str, seconds: int) -> tuple[list[str], list[str]]:
    """Return the names of migrations the database lacks, and of those this release does not know; wait no longer than so many seconds.

    Raises:
        Unavailable: the database cannot be reached in that time.
    """
    try:
        with _connect(database_url, connect_timeout=seconds, tcp_user_timeout=1000 * seconds) as connection:
            connection.execute("SELECT set_config('statement_timeout', %s, false)", [f"{seconds}s"])
            applied = _applied(connection)
    except psycopg.OperationalError as error:
        raise Unavailable("database", "The database was lost while it was looked at, or takes too long.") from error
    known = {path.stem for path in (sql_folder() / "migrations").glob("*.sql")}
    return sorted(known - applied), sorted(applied - known)


def grant_roles(database_url: str) -> None:
    """Make the role `aiinfra_app` if it is missing and give it its rights; may be repeated.

    Raises:
        Misconfigured: the user may not create the role.
    """
    with _connect(database_url) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        try:
            connection.execute((sql_folder() / "roles.sql").read_bytes())
        except psycopg.errors.InsufficientPrivilege as error:
            raise Misconfigured("This user may not create the role aiinfra_app; run sql/roles.sql as an administrator.") from error


def _connect(database_url: str, **options: Any) -> psycopg.Connection:
    try:
        return psycopg.connect(database_url, autocommit=True, **{"connect_timeout": 10, **options})
    except psycopg.OperationalError as error:
        raise Unavailable("database", "The database cannot be reached; check AI_INFRA_DATABASE_URL and that it is running.") from error


def _applied(connection: psycopg.Connection) -> set[str]:
    found = connection.execute("SELECT to_regclass('aiinfra_migrations') IS NOT NULL").fetchone()
    if not (found and found[0]):
        return set()
    return {str(row[0]) for row in connection.execute("SELECT name FROM aiinfra_migrations")}


def _apply(connection: psycopg.Connection, path: Path) -> None:
    try:
        connection.execute(path.read_bytes())
    except psycopg.errors.RaiseException as error:
        connection.execute("ROLLBACK")
        raise Misconfigured(f"Migration {path.stem} was refused: {error.diag.message_primary}.") from error
    except psycopg.Error:
        connection.execute("ROLLBACK")
        raise
