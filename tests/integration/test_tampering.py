"""Somebody with every right on the database edits evidence by hand: the check finds it and names the place.

The cases are made from the schema, so a new table or column is covered, or a test fails.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Engine, Table, create_engine, text

from aiinfra_core import artifact_store, canonical_json, evaluating, jobs, merkle, promoting, registering, verifying
from aiinfra_core.audit_log import checkpoints, tiles
from aiinfra_core.audit_log.checking.check import check_in
from aiinfra_core.audit_log.checking.state_rows import STATE_TABLES
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.evidence import checkpoint as notes
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.tables import (
    audit_checkpoints,
    audit_dead_letters,
    audit_deliveries,
    audit_events,
    audit_outbox,
    audit_tiles,
    metadata,
    request_ids,
)
from tests.simulators.long_log import fill
from tests.simulators.postgres import made_database

EVIDENCE = (*STATE_TABLES, audit_events, audit_tiles, audit_checkpoints)
# They say how far work has come, and prove nothing.
OPERATIONAL = (request_ids, audit_outbox, audit_deliveries, audit_dead_letters)
FILLED = 260  # more than one tile holds

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
Story = tuple[Engine, Settings]


@pytest.fixture(scope="module")
def story(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Train, register, evaluate and promote three models, with checkpoints; then take every constraint and trigger away.

    Tests edit it in a transaction that is rolled back.
    """
    folder = tmp_path_factory.mktemp("story")
    with made_database(postgres_server, migrated_template) as url:
        settings = Settings(
            AI_INFRA_DATABASE_URL=url,
            home=folder / "home",
            artifact_root=(folder / "artifacts").as_uri(),
            signer_key_b64=local.generate(),
            signer_id="test",
        )
        _live(settings)
        engine = create_engine(url)
        with engine.begin() as tx:
            _take_guards_away(tx)
        yield engine, settings
        engine.dispose()


def _live(settings: Settings) -> None:
    signer = audit_signer(settings)
    fill(settings, FILLED, signer)
    for seed, model in enumerate(("rainfall", "rainfall", "snow")):
        spec = TrainingSpec(model=model, code_ref=f"/code@{'a' * 40}", container_digest=f"sha256:{'b' * 64}", seed=seed)
        job = jobs.train(settings, spec, requested_by="tess", on_output=lambda _: None)
        artifact = registering.register(settings, registering.registration_of(job))
        evaluating.record_measured(settings, artifact.id)
        asked = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
        promoting.promote(settings, asked)
        sequence_pending(settings, signer)
        checkpoints.checkpoint(settings, signer)


def _take_guards_away(tx: Connection) -> None:
    """Take every constraint and trigger away, as an administrator could."""
    tx.execute(text("SET LOCAL client_min_messages = error"))
    for every in metadata.tables:
        tx.execute(text(f"ALTER TABLE {every} DISABLE TRIGGER USER"))
    constraints = (
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
    )
    for constrained, name in tx.execute(text(constraints)).all():
        tx.execute(text(f"ALTER TABLE {constrained} DROP CONSTRAINT IF EXISTS {name} CASCADE"))
    for table in EVIDENCE:
        for column in table.columns:
            if not column.nullable:
                tx.execute(text(f"ALTER TABLE {table.name} ALTER COLUMN {column.name} DROP NOT NULL"))


def _places(tx: Connection, settings: Settings) -> list[str]:
    return [f"{finding.place}: {finding.problem}" for finding in check_in(tx, settings).findings]


def test_an_untouched_history_has_no_findings(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        assert _places(tx, settings) == []
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
        for table in EVIDENCE:
            for column in table.columns:
                change = "NULL" if to == "nothing" else OTHER_VALUE[column.type.compile(engine.dialect)].format(column.name)
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


def test_any_evidence_row_deleted_inserted_copied_or_swapped_by_hand_is_found(story: Story) -> None:
    engine, settings = story
    missed = []
    with engine.connect() as tx:
        for table in EVIDENCE:
            for change in _row_changes(engine, table):
                assert tx.execute(text(change)).rowcount, change
                if not any(place.startswith(table.name) for place in _places(tx, settings)):
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
        assert any(place.startswith(f"audit_events seq {seq}:") for place in _places(tx, settings))
        tx.rollback()
        tx.execute(text("DELETE FROM audit_events WHERE seq = :seq"), {"seq": seq})
        assert any(place.startswith(f"audit_events seq {seq + 1}:") for place in _places(tx, settings))


def test_a_cut_tail_is_found_even_when_all_in_the_database_that_tells_of_it_is_cut_too(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        last, kept = [size for (size,) in tx.execute(text("SELECT size FROM audit_checkpoints ORDER BY size DESC LIMIT 2"))]
        tx.execute(text("DELETE FROM audit_events WHERE seq > :kept"), {"kept": kept})
        assert f"audit_checkpoints size {last}: {_CUT}" in _places(tx, settings)
        tx.execute(text("DELETE FROM audit_checkpoints WHERE size > :kept"), {"kept": kept})
        _plant_anew(tx)
        about = [place for place in _places(tx, settings) if f"{last:020d}: {_CUT}" in place]
        assert len(about) == 1
        assert about[0].startswith("file://")


_CUT = "the log has no event it could end with: its tail was cut, or an event is missing"


def _plant_anew(tx: Connection) -> None:
    tx.execute(text("DELETE FROM audit_tiles"))
    tx.execute(text("CREATE UNIQUE INDEX ON audit_tiles (level, tile)"))
    tiles.grow(tx)
    tx.execute(text("DROP INDEX audit_tiles_level_tile_idx"))


_Change = Callable[[dict[str, Any]], Any]


def _rewrite(tx: Connection, settings: Settings, change: _Change, *, signer_id: str | None = None) -> None:
    """Change an event, and everything in the database that follows from it, with the right key."""
    signer = audit_signer(settings)
    head = Head()
    for row in tx.execute(text("SELECT seq, payload::text AS payload FROM audit_events ORDER BY seq")).all():
        event = canonical_json.loads(row.payload)
        change(event)
        made = follow(head, canonical_json.dumps(event).decode())
        signature = base64.b64encode(signer.sign(bytes.fromhex(made["hash"]))).decode()
        head = head_after(made)
        values = made | {"signature": signature, "signer_id": signer_id or signer.signer_id, "at": row.seq}
        columns = ", ".join(f"{name} = CAST(:{name} AS {audit_events.c[name].type.compile(tx.dialect)})" for name in made)
        tx.execute(text(f"UPDATE audit_events SET {columns}, signature = :signature, signer_id = :signer_id WHERE seq = :at"), values)
    sizes = tx.execute(text("SELECT size FROM audit_checkpoints")).scalars().all()
    _plant_anew(tx)
    for size in sizes:
        head_of = notes.Checkpoint(settings.log_origin, size, merkle.root_at(size, tiles.reader(tx)))
        at = tx.execute(text("SELECT created_at FROM audit_events WHERE seq = :size"), {"size": size}).scalar_one()
        values = {"root": head_of.root.hex(), "note": notes.sign(head_of, signer), "at": at, "size": size}
        tx.execute(text("UPDATE audit_checkpoints SET root = :root, note = :note, created_at = :at WHERE size = :size"), values)


def _backdate(event: dict[str, Any]) -> None:
    if event["type"] == "promotion.applied":
        event["time"] = f"2020{event['time'][4:]}"


def _forge_actor(event: dict[str, Any]) -> None:
    if event["type"] == "promotion.applied":
        event["actor"] = "mallory"


@pytest.mark.parametrize("change", [_forge_actor, _backdate])
def test_a_whole_history_rewritten_with_the_right_key_is_found_by_what_was_published(story: Story, change: _Change) -> None:
    engine, settings = story
    with engine.connect() as tx:
        _rewrite(tx, settings, lambda event: event)
        assert _places(tx, settings) == []
        _rewrite(tx, settings, change)
        places = _places(tx, settings)
        assert places
        assert all(place.startswith("file://") and "commits to another history" in place for place in places)
        alone = settings.model_copy(update={"checkpoint_root": f"{settings.artifact_root}/elsewhere"})
        assert all("has no copy there" in place for place in _places(tx, alone))


COPIES = {
    ("model_artifacts", "signer_id"): "mallory",
    ("model_promotions", "signature"): "AAAA",
    ("attestations", "predicate_type"): "urn:ai-infra:attestation:registration:v2",
    ("attestations", "subject_checksum"): "0" * 64,
}


@pytest.mark.parametrize(("table", "column"), COPIES)
def test_a_copy_forged_in_the_row_and_with_the_right_key_in_its_events_is_found_by_the_envelope(
    story: Story, table: str, column: str
) -> None:
    engine, settings = story
    forged = COPIES[table, column]

    def forge(event: dict[str, Any]) -> None:
        if (event["rows"].get(table) or {}).get(column):
            event["rows"][table][column] = forged

    with engine.connect() as tx:
        tx.execute(text(f"UPDATE {table} SET {column} = :forged WHERE {column} IS NOT NULL"), {"forged": forged})
        _rewrite(tx, settings, forge)
        found = [place for place in _places(tx, settings) if not place.startswith("file://")]
        assert found
        assert all(place.startswith(f"{table} ") and f"{column} is not what its envelope says" in place for place in found)


def test_an_old_promotion_put_back_is_found(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        tx.execute(
            text(
                """UPDATE environment_pointers SET (sequence, promotion_id, artifact_id, updated_at) = (
                  SELECT sequence_seen + 1, id, artifact_id, applied_at FROM model_promotions
                  WHERE model = 'rainfall' AND status = 'applied' ORDER BY sequence_seen LIMIT 1) WHERE model = 'rainfall'"""
            )
        )
        found = _places(tx, settings)
        assert [place.partition(":")[0] for place in found] == ["environment_pointers prod/rainfall"]
        assert all(name in found[0] for name in ("sequence", "promotion_id", "artifact_id", "updated_at"))


def test_a_key_counts_under_its_own_signer_id_only(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        tx.execute(text("UPDATE audit_events SET signer_id = 'second' WHERE seq = 7"))
        assert "audit_events seq 7: signer_id second has no trusted key" in _places(tx, settings)


def test_a_chain_signed_with_another_key_is_found(story: Story) -> None:
    engine, settings = story
    other = settings.model_copy(update={"signer_key_b64": Settings(signer_key_b64=local.generate()).signer_key_b64})
    with engine.connect() as tx:
        history = check_in(tx, other)
    about_events = {finding.problem for finding in history.findings if finding.place.startswith("audit_events")}
    assert about_events == {"signature does not verify"}
    assert history.broken > history.events


def test_what_waits_to_be_chained_counts_as_told(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        last = tx.execute(text("SELECT max(seq) FROM audit_events")).scalar_one()
        covered = tx.execute(text("SELECT max(size) FROM audit_checkpoints")).scalar_one()
        assert last == covered
        tx.execute(text("UPDATE models SET last_version = last_version + 1 WHERE name = 'snow'"))
        assert [place.partition(":")[0] for place in _places(tx, settings)] == ["models snow"]
        payload = tx.execute(
            text("SELECT payload::text FROM audit_events WHERE event_type = 'artifact.registered' ORDER BY seq DESC")
        ).scalar()
        event = canonical_json.loads(payload or "")
        event["rows"] = {"models": event["rows"]["models"] | {"last_version": event["rows"]["models"]["last_version"] + 1}}
        put = text("INSERT INTO audit_outbox (event_type, payload) VALUES ('artifact.registered', CAST(:payload AS json))")
        tx.execute(put, {"payload": canonical_json.dumps(event).decode()})
        history = check_in(tx, settings)
        assert (history.findings, history.waiting) == ([], 1)


def test_a_forged_claim_without_the_key_is_named_by_the_model_check(story: Story) -> None:
    engine, settings = story
    with _committed(engine, "UPDATE model_artifacts SET registered_by = {} WHERE version = 2", "'mallory'", "'operator'"):
        _, steps = verifying.verify_model(settings, "rainfall:2")
    failed = {step.name: step.detail for step in steps if not step.passed}
    assert set(failed) == {"history", "registration"}
    assert "registered_by" in failed["history"]
    assert "registered_by" in failed["registration"]


@contextmanager
def _committed(engine: Engine, change: str, forged: str, right: str) -> Iterator[None]:
    with engine.begin() as tx:
        tx.execute(text(change.format(forged)))
    yield
    with engine.begin() as tx:
        tx.execute(text(change.format(right)))


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
