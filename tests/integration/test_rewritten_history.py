"""Somebody who also has the right key cuts, rewrites or replays history: what was published and what was signed tell of it."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from aiinfra_core import canonical_json, merkle
from aiinfra_core.audit_log import tiles
from aiinfra_core.audit_log.checking.check import check_in
from aiinfra_core.evidence import checkpoint as notes
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from tests.simulators import edited_database
from tests.simulators.edited_database import Story, places

story = edited_database.story


def test_a_cut_tail_is_found_even_when_all_in_the_database_that_tells_of_it_is_cut_too(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        last, kept = [size for (size,) in tx.execute(text("SELECT size FROM audit_checkpoints ORDER BY size DESC LIMIT 2"))]
        tx.execute(text("DELETE FROM audit_events WHERE seq > :kept"), {"kept": kept})
        assert f"audit_checkpoints size {last}: {_CUT}" in places(tx, settings)
        tx.execute(text("DELETE FROM audit_checkpoints WHERE size > :kept"), {"kept": kept})
        _plant_anew(tx)
        about = [place for place in places(tx, settings) if f"{last:020d}: {_CUT}" in place]
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
        assert places(tx, settings) == []
        _rewrite(tx, settings, change)
        found = places(tx, settings)
        assert found
        assert all(place.startswith("file://") and "commits to another history" in place for place in found)
        alone = settings.model_copy(update={"checkpoint_root": f"{settings.artifact_root}/elsewhere"})
        assert all("has no copy there" in place for place in places(tx, alone))


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
        found = [place for place in places(tx, settings) if not place.startswith("file://")]
        assert found
        assert all(place.startswith(f"{table} ") and f"{column} is not what its envelope says" in place for place in found)


def test_an_old_promotion_put_back_is_found(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        tx.execute(
            text(
                """UPDATE environment_pointers SET (sequence, promotion_id, artifact_id, updated_at) = (
                  SELECT sequence_seen + 1, id, artifact_id, applied_at FROM model_promotions
                  WHERE model = 'rainfall' AND environment = 'prod' AND status = 'applied' ORDER BY sequence_seen LIMIT 1)
                    WHERE model = 'rainfall' AND environment = 'prod'"""
            )
        )
        found = places(tx, settings)
        assert [place.partition(":")[0] for place in found] == ["environment_pointers prod/rainfall"]
        assert all(name in found[0] for name in ("sequence", "promotion_id", "artifact_id", "updated_at"))


def test_a_key_counts_under_its_own_signer_id_only(story: Story) -> None:
    engine, settings = story
    with engine.connect() as tx:
        tx.execute(text("UPDATE audit_events SET signer_id = 'second' WHERE seq = 7"))
        assert "audit_events seq 7: signer_id second has no trusted key" in places(tx, settings)


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
        assert [place.partition(":")[0] for place in places(tx, settings)] == ["models snow"]
        payload = tx.execute(
            text(
                "SELECT payload::text FROM audit_events WHERE event_type = 'artifact.registered'"
                " AND payload->'rows'->'models'->>'name' = 'snow' ORDER BY seq DESC"
            )
        ).scalar()
        event = canonical_json.loads(payload or "")
        event["rows"] = {"models": event["rows"]["models"] | {"last_version": event["rows"]["models"]["last_version"] + 1}}
        put = text("INSERT INTO audit_outbox (event_type, payload) VALUES ('artifact.registered', CAST(:payload AS json))")
        tx.execute(put, {"payload": canonical_json.dumps(event).decode()})
        history = check_in(tx, settings)
        assert (history.findings, history.waiting) == ([], 1)
