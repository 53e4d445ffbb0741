"""A real PostgreSQL for the tests, with a fresh migrated database for each test that asks for one.

The server at AI_INFRA_DATABASE_URL or DATABASE_URL when one is set (it must be allowed to create databases), otherwise an
embedded one per test process, stopped at the end.
"""

import base64
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from aiinfra_core import database, migrate
from aiinfra_core.embedded import postgres
from aiinfra_core.settings import Settings

# Read before any test empties the environment.
_CONFIGURED = os.environ.get("AI_INFRA_DATABASE_URL") or os.environ.get("DATABASE_URL")


@contextmanager
def made_database(server: str, template: str = "template0") -> Iterator[str]:
    name = f"aiinfra_test_{uuid4().hex}"
    _administer(server, sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    try:
        yield url
    finally:
        database.close_connections()
        _administer(server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _administer(server: str, statement: sql.Composed) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Give the address of a server on which databases may be made."""
    if _CONFIGURED:
        configured = Settings(AI_INFRA_DATABASE_URL=_CONFIGURED).database_url
        assert configured is not None
        yield configured.get_secret_value()
        return
    home = Path(tempfile.mkdtemp(prefix="aiinfra-tests-"))
    try:
        yield postgres.ensure_running(
            home, {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
        )
    finally:
        postgres.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_template(postgres_server: str) -> Iterator[str]:
    """Give the name of a migrated database that others are copied from."""
    with made_database(postgres_server) as url:
        migrate.migrate(url)
        migrate.grant_roles(url)
        yield str(make_url(url).database)


@pytest.fixture
def empty_database_url(postgres_server: str) -> Iterator[str]:
    """Give the address of a database with nothing in it."""
    with made_database(postgres_server) as url:
        yield url


@pytest.fixture
def database_url(postgres_server: str, migrated_template: str) -> Iterator[str]:
    """Give the address of a migrated database of this test's own."""
    with made_database(postgres_server, migrated_template) as url:
        yield url


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Give settings with a database, an artifact root and a signing key of this test's own."""
    return Settings(
        AI_INFRA_DATABASE_URL=database_url,
        home=tmp_path / "home",
        artifact_root=(tmp_path / "artifacts").as_uri(),
        signer_key_b64=base64.b64encode(secrets.token_bytes(32)).decode(),
        signer_id="test",
    )
