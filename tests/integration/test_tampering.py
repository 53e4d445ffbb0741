"""Somebody with every right on the database edits evidence by hand: the check finds it and names the place.

The cases are made from the schema, so a new table or column is covered, or a test fails. Whole histories that are rewritten with the right
key are in `test_rewritten_history`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import pytest
from sqlalchemy import Column, Connection, Engine, Table, text

from aiinfra_core import artifact_store, evaluating, jobs, registering, verifying
from aiinfra_core.columns import metadata
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.tables import STATE_TABLES, attestations
from tests.simulators import edited_database
from tests.simulators.edited_database import EVIDENCE, FILLED, OPERATIONAL, Story, places

story = edited_database.story

# Any other value of a column's type, whatever stands in it now; the constraints were dropped before.
OTHER_VALUE = {
    "TEXT": "coalesce({0}, '') || 'x'",
    "UUID": "gen_random_uuid()",
    "BIGINT": "coalesce({0}, 0) + 1000",
    "INTEGER": "coalesce({0}, 0) + 1000",
    "JSON": "json_build_object('forged', coalesce({0}::text, ''))",
    "BOOLEAN": "NOT coalesce({0}, false)",
    "BYTEA": "coalesce({0}, '')::bytea || 'x'::bytea",
    "TIMESTAMP WITH TIME ZONE": "coalesce({0}, now()) + interval '1 microsecond'",
}


def test_an_untouched_history_has_no_findings(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        assert places(tx, settings) == []
        for table in EVIDENCE:
            assert tx.execute(text(f"SELECT count(*) FROM {table.name}")).scalar_one() > 1, table.name


def test_every_table_is_evidence_or_known_not_to_be() -> None:
    assert {table.name for table in EVIDENCE} | {table.name for table in OPERATIONAL} == set(metadata.tables)
    assert not {table.name for table in EVIDENCE} & {table.name for table in OPERATIONAL}


@pytest.mark.parametrize("to", ["another value", pytest.param("nothing", marks=pytest.mark.slow)])
def test_any_column_of_any_evidence_row_changed_by_hand_is_found_and_named(story: Story, to: str) -> None:
    engine, settings = story
    missed = []
    with engine.connect() as tx:
        for columns in _told_apart():
            changes = {
                column: "NULL" if to == "nothing" else OTHER_VALUE[column.type.compile(engine.dialect)].format(column.name)
                for column in columns
            }
            changed = [column for column in columns if _changed(tx, column.table, column, changes[column])]
            found = places(tx, settings) if changed else []
            missed += [f"{column} = {changes[column]}: {found}" for column in changed if not _named(found, column.table, column)]
            tx.rollback()
    assert missed == []


def _told_apart() -> Iterator[list[Column[object]]]:
    """Yield every column, together with one of each other table where what is found in them cannot be taken for one another."""
    alone = (attestations, *(table for table in EVIDENCE if table not in STATE_TABLES))
    yield from ([column] for table in alone for column in table.columns)
    columns = [list(table.columns) for table in STATE_TABLES if table is not attestations]
    yield from ([column for column in some if column is not None] for some in zip_longest(*columns))


def _changed(tx: Connection, table: Table, column: Column[object], change: str) -> bool:
    one = f"(SELECT ctid FROM {table.name} ORDER BY 1 LIMIT 1)"
    sql = f"UPDATE {table.name} SET {column.name} = {change} WHERE ctid = {one} AND {column.name}::text IS DISTINCT FROM ({change})::text"
    return tx.execute(text(sql)).rowcount == 1


def _named(places: list[str], table: Table, column: Column[object]) -> bool:
    """Say whether a finding names the column, or, for a key, the rows it now seems to be missing or strange."""
    about = [place for place in places if place.startswith(table.name)]
    return bool(about) and (column.primary_key or table is audit_events or any(column.name in place for place in about))


@pytest.mark.slow
def test_any_evidence_row_deleted_inserted_copied_or_swapped_by_hand_is_found(story: Story) -> None:
    engine, settings = story
    missed = []
    with engine.connect() as tx:
        for table in EVIDENCE:
            for change in _row_changes(engine, table):
                assert tx.execute(text(change)).rowcount, change
                if not any(place.startswith(table.name) for place in places(tx, settings)):
                    missed.append(change)
                tx.rollback()
    assert missed == []


def _row_changes(engine: Engine, table: Table) -> Iterator[str]:
    name, keys = table.name, [column.name for column in table.primary_key.columns]
    other = OTHER_VALUE[table.c[keys[-1]].type.compile(engine.dialect)].format(keys[-1])
    columns = ", ".join(column.name for column in table.columns)
    copied = ", ".join(other if column.name == keys[-1] else column.name for column in table.columns)
    first, last = (f"(SELECT {which}(ctid) FROM {name})" for which in ("min", "max"))
    partner = f"CASE WHEN {name}.ctid = {first} THEN {last} ELSE {first} END"
    swapped = ", ".join(f"{key} = (SELECT {key} FROM {name} AS partner WHERE partner.ctid = {partner})" for key in keys)
    yield f"DELETE FROM {name} WHERE ctid = {first}"
    yield f"DELETE FROM {name} WHERE ctid = {last}"
    yield f"DELETE FROM {name}"
    yield f"INSERT INTO {name} ({columns}) SELECT {copied} FROM {name} WHERE ctid = {last}"
    yield f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {name} WHERE ctid = {last}"
    yield f"UPDATE {name} SET {swapped} WHERE ctid IN ({first}, {last})"


@pytest.mark.parametrize("seq", [1, 2, FILLED, FILLED + 7])
def test_two_events_swapped_or_one_deleted_are_found_where_they_stood(story: Story, seq: int) -> None:
    engine, settings = story
    with engine.connect() as tx:
        tx.execute(text("UPDATE audit_events SET seq = 2 * :seq + 1 - seq WHERE seq IN (:seq, :seq + 1)"), {"seq": seq})
        assert any(place.startswith(f"audit_events seq {seq}:") for place in places(tx, settings))
        tx.rollback()
        tx.execute(text("DELETE FROM audit_events WHERE seq = :seq"), {"seq": seq})
        assert any(place.startswith(f"audit_events seq {seq + 1}:") for place in places(tx, settings))


def test_a_forged_claim_without_the_key_is_named_by_the_model_check(story: Story) -> None:
    engine, settings = story
    with _committed(engine, "model_artifacts", "registered_by = 'mallory' WHERE version = 2"):
        _, steps = verifying.verify_model(settings, "rainfall:2")
    failed = {step.name: step.detail for step in steps if not step.passed}
    assert set(failed) == {"history", "registration"}
    assert "registered_by" in failed["history"]
    assert "registered_by" in failed["registration"]


def test_the_model_check_knows_everything_that_was_signed_about_a_model(story: Story) -> None:
    _, settings = story
    _, steps = verifying.verify_model(settings, "rainfall:1")
    assert [step for step in steps if not step.passed] == []
    named = {step.name.split(" (")[0] for step in steps}
    assert named >= {"registration", "training", "reproduction", "scan"}
    given = "approval by sam of sequence 1 in staging"
    assert named >= {given, f"withdrawal of the {given}", "approval by max of sequence 1 in staging"}
    assert named >= {f"rollout of sequence {sequence}" for sequence in ("3 in staging", "3 in prod")}
    assert named >= {"order to advance the rollout of sequence 3 in staging", "order to pause the rollout of sequence 3 in prod"}
    assert len([name for name in named if name.startswith("evaluation ")]) == 4
    assert "current in staging" in {step.name for step in verifying.verify_model(settings, "rainfall:2")[1]}


@pytest.mark.parametrize(
    ("table", "change", "step"),
    [
        ("approvals", "approver = 'mallory' WHERE approver = 'max'", "approval by mallory"),
        ("approvals", "roles = '[\"boss\"]' WHERE approver = 'max'", "approval by max"),
        ("approval_withdrawals", "withdrawn_by = 'mallory' WHERE withdrawn_by = 'sam'", "withdrawal of the approval by sam"),
        ("reproductions", "report = '{}' WHERE outcome = 'identical'", "reproduction"),
        ("artifact_scans", "verdict = 'safe'", "scan"),
        ("rollout_orders", "reason = 'mallory was here' WHERE action = 'advance'", "order to advance"),
        ("canary_looks", "verdict = 'advance' WHERE verdict = 'rollback'", "rollout of sequence 3 in staging"),
        ("canary_looks", "judged = '{}'", "rollout of sequence 3 in"),
        ("evaluations", "spec = json_build_object('datasetRefs', '[]'::json) WHERE spec IS NOT NULL", "evaluation"),
    ],
)
def test_a_forged_row_beside_a_signed_statement_is_named_by_the_model_check(story: Story, table: str, change: str, step: str) -> None:
    engine, settings = story
    with _committed(engine, table, change):
        _, steps = verifying.verify_model(settings, "rainfall:1")
    failed = [one.name for one in steps if not one.passed]
    assert failed[0] == "history"
    assert failed[1:]
    assert all(name.startswith(step) for name in failed[1:]), failed


@contextmanager
def _committed(engine: Engine, table: str, change: str) -> Iterator[None]:
    with engine.begin() as tx:
        tx.execute(text(f"CREATE TABLE before AS SELECT * FROM {table}"))
        assert tx.execute(text(f"UPDATE {table} SET {change}")).rowcount
    yield
    with engine.begin() as tx:
        tx.execute(text(f"DELETE FROM {table}"))
        tx.execute(text(f"INSERT INTO {table} SELECT * FROM before"))
        tx.execute(text("DROP TABLE before"))


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
