"""The migrations, the whole schema, the tables the code sees and the guards of the database."""

import re
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from aiinfra_core import migrate
from aiinfra_core.columns import metadata
from aiinfra_core.errors import Misconfigured, Unavailable

CATALOG = """
SELECT 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
  || ' ' || coalesce(identity_generation, '') FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1
"""


def _catalog(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [str(row[0]) for row in connection.execute(CATALOG)]


def test_the_migrations_lead_exactly_to_the_whole_schema(database_url: str, empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute((migrate.sql_folder() / "schema.sql").read_bytes())
    assert _catalog(database_url) == _catalog(empty_database_url)


def test_the_tables_of_the_code_are_those_of_the_database(database_url: str) -> None:
    engine = create_engine(database_url, poolclass=NullPool)
    found = inspect(engine)
    for table in metadata.tables.values():
        columns = {column["name"]: column for column in found.get_columns(table.name)}
        assert list(columns) == [column.name for column in table.columns], table.name
        assert {name: column["nullable"] for name, column in columns.items()} == {c.name: c.nullable for c in table.columns}, table.name
        kinds = {name: column["type"].compile(engine.dialect) for name, column in columns.items()}
        assert kinds == {c.name: c.type.compile(engine.dialect) for c in table.columns}, table.name
        assert found.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key.columns], table.name
    assert set(found.get_table_names()) - set(metadata.tables) == {"aiinfra_migrations"}


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    before = _catalog(database_url)
    assert migrate.migrate(database_url) == []
    assert migrate.pending(database_url) == []
    assert _catalog(database_url) == before


def test_the_first_migration_applies_with_plain_psql_and_migrate_continues(empty_database_url: str) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("psql is not installed")
    script = migrate.sql_folder() / "migrations" / "001_init.sql"
    done = subprocess.run([psql, empty_database_url, "-f", str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "ERROR" not in done.stderr
    assert "001_init" not in migrate.pending(empty_database_url)
    assert "001_init" not in migrate.migrate(empty_database_url)


def test_tables_of_somebody_else_are_refused_by_name_and_left_alone(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE models (id integer); INSERT INTO models VALUES (7)")
    with pytest.raises(Misconfigured, match="models"):
        migrate.migrate(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT id FROM models").fetchall() == [(7,)]
        assert connection.execute("SELECT to_regclass('training_jobs')").fetchone() == (None,)


def test_a_database_of_a_newer_release_is_refused(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO aiinfra_migrations (name) VALUES ('999_future')")
    with pytest.raises(Misconfigured, match="999_future"):
        migrate.migrate(database_url)


def test_a_database_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        migrate.migrate(f"postgresql:///aiinfra?host={tmp_path}")


@pytest.mark.parametrize(
    "table", ["model_artifacts", "evaluations", "attestations", "audit_events", "model_cards", "imports", "artifact_tombstones"]
)
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_evidence_is_append_only_even_for_the_owner(database_url: str, table: str, change: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        _fill(connection)
        column = "created_at"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(change.format(table, column, column).encode())


def _fill(connection: psycopg.Connection) -> None:
    connection.execute(
        """
        INSERT INTO attestations VALUES (repeat('a', 64), 't', 's', 'x', 'k', now());
        INSERT INTO models VALUES ('m', 1, now());
        INSERT INTO model_artifacts VALUES ('00000000-0000-0000-0000-000000000001', 'm', 1, NULL, 'u', 'sha256', repeat('b', 64), 1, '{}',
          NULL, 'k', 's', repeat('a', 64), 'me', now());
        INSERT INTO evaluations VALUES ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001', 'claimed', '{}',
          repeat('c', 64), repeat('a', 64), 'me', now());
        INSERT INTO model_promotions (id, request_id, artifact_id, model, environment, status, evaluation, sequence_seen, requested_by,
          created_at, updated_at) VALUES ('00000000-0000-0000-0000-000000000003', 'r', '00000000-0000-0000-0000-000000000001', 'm', 'prod',
          'requested', '{}', 0, 'me', now(), now());
        INSERT INTO environment_pointers VALUES ('prod', 'm', 1, '00000000-0000-0000-0000-000000000003',
          '00000000-0000-0000-0000-000000000001', now());
        INSERT INTO model_cards VALUES ('00000000-0000-0000-0000-000000000005', 'm', 1, 1, 'd', '{}', 'c', 'me', now());
        INSERT INTO imports VALUES ('00000000-0000-0000-0000-000000000006', 's', 'job', 'i', '{}', NULL, 'o', repeat('a', 64), 'me', now());
        INSERT INTO artifact_tombstones VALUES ('00000000-0000-0000-0000-000000000001', 'r', '{}', repeat('a', 64), 'me', now());
        INSERT INTO audit_events VALUES (1, '00000000-0000-0000-0000-000000000004', 't', '{}', NULL, 'h', 's', 'k', now(), now(), '{}', 1);
        """
    )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE model_promotions SET artifact_id = artifact_id, requested_by = 'somebody'",
        "UPDATE model_promotions SET status = 'applied'",
        "DELETE FROM model_promotions",
        "UPDATE models SET last_version = last_version + 2",
        "UPDATE models SET last_version = last_version - 1",
        "UPDATE models SET name = 'other'",
        "UPDATE environment_pointers SET sequence = sequence + 2",
        "UPDATE environment_pointers SET sequence = sequence",
        "UPDATE environment_pointers SET environment = 'staging', sequence = sequence + 1",
        "DELETE FROM environment_pointers",
        "TRUNCATE environment_pointers",
    ],
)
def test_state_moves_only_along_allowed_ways(database_url: str, change: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        _fill(connection)
        with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.CheckViolation)):
            connection.execute(change.encode())


def test_the_role_of_the_product_may_add_but_not_change_evidence(database_url: str) -> None:
    migrate.grant_roles(database_url)
    migrate.grant_roles(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        _fill(connection)
        connection.execute("SET ROLE aiinfra_app")
        for change in (
            "DELETE FROM audit_events",
            "UPDATE attestations SET signer_id = 'x'",
            "ALTER TABLE audit_events DISABLE TRIGGER ALL",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"permission denied|must be owner"):
                connection.execute(change.encode())


@pytest.mark.parametrize("table", ["training_jobs", "models", "model_promotions", "environment_pointers"])
def test_every_column_of_a_state_table_is_either_fixed_or_open_to_the_products_role(database_url: str, table: str) -> None:
    migrate.grant_roles(database_url)
    with psycopg.connect(database_url) as connection:
        trigger = connection.execute(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'fixed_columns' AND tgrelid = %s::regclass", [table]
        ).fetchone()
        may_change = connection.execute(
            "SELECT column_name FROM information_schema.column_privileges"
            " WHERE grantee = 'aiinfra_app' AND privilege_type = 'UPDATE' AND table_name = %s",
            [table],
        ).fetchall()
    assert trigger is not None
    fixed, state = set(re.findall(r"\bold\.(\w+)", trigger[0])), {str(row[0]) for row in may_change}
    assert fixed == set(re.findall(r"\bnew\.(\w+)", trigger[0]))
    assert fixed | state == set(metadata.tables[table].columns.keys())
    assert not fixed & state
