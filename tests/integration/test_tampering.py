"""Somebody with every right on the database edits evidence by hand: the check finds it and names the place.

The cases are made from the schema, so a new table or column is covered, or a test fails.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Engine, Table, create_engine, text

from aiinfra_core import artifact_store, evaluating, jobs, promoting, registering, verifying
from aiinfra_core.audit_log.check import STATE_TABLES, check_history
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.keys import trust_of
from aiinfra_core.settings import Settings
from aiinfra_core.tables import audit_events, audit_outbox, metadata, request_ids

EVIDENCE = (*STATE_TABLES, audit_events)

# Any other value of a column's type, whatever stands in it now; the constraints were dropped before.
OTHER_VALUE = {
    "TEXT": "coalesce({0}, '') || 'x'",
    "UUID": "gen_random_uuid()",
    "BIGINT": "coalesce({0}, 0) + 1000",
    "INTEGER": "coalesce({0}, 0) + 1000",
    "JSON": "json_build_object('forged', coalesce({0}::text, ''))",
    "BYTEA": "coalesce({0}, '')::bytea || 'x'::bytea",
    "TIMESTAMP WITH TIME ZONE": "coalesce({0}, now()) + interval '1 microsecond'",
}


@pytest.fixture
def story(settings: Settings) -> Iterator[tuple[Engine, Settings]]:
    """Train, register, evaluate and promote two models, then take every constraint and trigger away as an administrator could."""
    for seed in (1, 2):
        spec = TrainingSpec(model="rainfall", code_ref=f"/code@{'a' * 40}", container_digest=f"sha256:{'b' * 64}", seed=seed)
        job = jobs.train(settings, spec, requested_by="tess", on_output=lambda _: None)
        artifact = registering.register(settings, registering.registration_of(job))
        asked = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
        promoting.promote(settings, asked)
    assert settings.database_url is not None
    engine = create_engine(settings.database_url.get_secret_value())
    with engine.begin() as tx:
        tx.execute(text("SET LOCAL client_min_messages = error"))
        for every in metadata.tables:
            tx.execute(text(f"ALTER TABLE {every} DISABLE TRIGGER USER"))
        for constrained, name in tx.execute(
            text(
                "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
            )
        ).all():
            tx.execute(text(f"ALTER TABLE {constrained} DROP CONSTRAINT IF EXISTS {name} CASCADE"))
        for table in EVIDENCE:
            for column in table.columns:
                if not column.nullable:
                    tx.execute(text(f"ALTER TABLE {table.name} ALTER COLUMN {column.name} DROP NOT NULL"))
    yield engine, settings
    engine.dispose()


def _places(tx: Connection, settings: Settings) -> list[str]:
    return [f"{finding.place}: {finding.problem}" for finding in check_history(tx, trust_of(settings)).findings]


def test_an_untouched_history_has_no_findings(story: tuple[Engine, Settings]) -> None:
    engine, settings = story
    with engine.connect() as tx:
        assert _places(tx, settings) == []
        for table in EVIDENCE:
            assert tx.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one() > 0, table.name


def test_every_table_is_evidence_or_known_not_to_be() -> None:
    assert {table.name for table in EVIDENCE} | {audit_outbox.name, request_ids.name} == set(metadata.tables)


def test_any_column_of_any_evidence_row_changed_by_hand_is_found_and_named(story: tuple[Engine, Settings]) -> None:
    engine, settings = story
    missed = []
    with engine.connect() as tx:
        for table in EVIDENCE:
            for column in table.columns:
                for change in (OTHER_VALUE[column.type.compile(engine.dialect)].format(column.name), "NULL"):
                    if _changed(tx, table, column, change) and not _named(_places(tx, settings), table, column):
                        missed.append(f"{table.name}.{column.name} = {change}: {_places(tx, settings)}")
                    tx.rollback()
    assert missed == []


def _changed(tx: Connection, table: Table, column: Column[object], change: str) -> bool:
    one = f"(SELECT ctid FROM {table.name} ORDER BY 1 LIMIT 1)"
    sql = f"UPDATE {table.name} SET {column.name} = {change} WHERE ctid = {one} AND {column.name}::text IS DISTINCT FROM ({change})::text"
    return tx.execute(text(sql)).rowcount == 1


def _named(places: list[str], table: Table, column: Column[object]) -> bool:
    """Say whether a finding names the column, or, for a key, the rows it now seems to be missing or strange."""
    about = [place for place in places if place.startswith(table.name)]
    return bool(about) and (column.primary_key or table is audit_events or any(column.name in place for place in about))


@pytest.mark.parametrize("table", EVIDENCE, ids=lambda table: table.name)
def test_a_row_deleted_inserted_or_copied_by_hand_is_found(story: tuple[Engine, Settings], table: Table) -> None:
    engine, settings = story
    key = next(iter(table.primary_key.columns)).name
    other = OTHER_VALUE[table.c[key].type.compile(engine.dialect)].format(key)
    columns = ", ".join(column.name for column in table.columns)
    copied = ", ".join(other if column.name == key else column.name for column in table.columns)
    with engine.connect() as tx:
        for change in (
            f"DELETE FROM {table.name} WHERE ctid = (SELECT min(ctid) FROM {table.name})",
            f"DELETE FROM {table.name} WHERE ctid = (SELECT max(ctid) FROM {table.name})",
            f"TRUNCATE {table.name} CASCADE",
            f"INSERT INTO {table.name} ({columns}) SELECT {copied} FROM {table.name} WHERE ctid = (SELECT max(ctid) FROM {table.name})",
        ):
            tx.execute(text(change))
            assert _places(tx, settings), change
            tx.rollback()


def test_two_events_swapped_are_found(story: tuple[Engine, Settings]) -> None:
    engine, settings = story
    with engine.connect() as tx:
        tx.execute(text("UPDATE audit_events SET seq = CASE seq WHEN 2 THEN 3 ELSE 2 END WHERE seq IN (2, 3)"))
        assert any("audit_events" in place for place in _places(tx, settings))


def test_a_chain_rewritten_with_another_key_is_found(story: tuple[Engine, Settings], settings: Settings) -> None:
    engine, _ = story
    other = settings.model_copy(update={"signer_key_b64": Settings(signer_key_b64="A" * 43 + "=").signer_key_b64})
    with engine.connect() as tx:
        findings = check_history(tx, trust_of(other)).findings
    assert {finding.problem for finding in findings} == {"signature does not verify"}


def test_a_forged_claim_without_the_key_is_named_by_the_model_check(story: tuple[Engine, Settings]) -> None:
    engine, settings = story
    with engine.begin() as tx:
        tx.execute(text("UPDATE model_artifacts SET registered_by = 'mallory' WHERE version = 2"))
    _, steps = verifying.verify_model(settings, "rainfall:2")
    failed = {step.name: step.detail for step in steps if not step.passed}
    assert set(failed) == {"history", "registration"}
    assert "registered_by" in failed["history"]
    assert "registered_by" in failed["registration"]


def test_one_changed_byte_of_the_stored_artifact_is_named(settings: Settings, tmp_path: Path) -> None:
    spec = TrainingSpec(model="rainfall", code_ref=f"/code@{'a' * 40}", container_digest=f"sha256:{'b' * 64}", seed=1)
    job = jobs.train(settings, spec, requested_by="tess", on_output=lambda _: None)
    artifact = registering.register(settings, registering.registration_of(job))
    path = Path(artifact.artifact_uri.removeprefix("file://"))
    path.chmod(0o644)
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    _, steps = verifying.verify_model(settings, "rainfall")
    assert [step.name for step in steps if not step.passed] == ["bytes"]
    assert artifact_store.location(settings).root.startswith("file://")
    assert evaluating.record_measured(settings, artifact.id) is None
