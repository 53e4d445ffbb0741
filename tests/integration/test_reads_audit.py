"""The history over HTTP: events as they are stored, tree heads as they were signed, and proofs that a stranger's rules accept."""

import json
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from aiinfra_core import database, merkle
from aiinfra_core.evidence import checkpoint, consistency_proof, log_proof
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import proving
from aiinfra_core.wire.reading import SentCheckpoint, SentConsistency, SentEvent, SentProof
from tests.simulators import reading
from tests.simulators.http_story import is_problem
from tests.simulators.reading import Known

home, known = reading.home, reading.known
AS_TEXT = {"Accept": "text/plain"}


@pytest.fixture(scope="module")
def published(known: Known) -> tuple[int, int]:
    """Give the sizes of two checkpoints with events between them."""
    first = reading.publish(known.settings)
    reading.trained(known.settings, reading.OTHER_CODE, seed=78)
    second = reading.publish(known.settings)
    assert first < second
    return first, second


def _stored(known: Known) -> list[dict[str, Any]]:
    with database.transaction(known.settings) as tx:
        return [dict(row) for row in tx.execute(select(audit_events).order_by(audit_events.c.seq)).mappings()]


def test_events_are_sent_whole_and_their_entries_are_the_ones_the_tree_holds(known: Known, published: tuple[int, int]) -> None:
    stored = _stored(known)
    sent = known.every("/audit/events", limit=7)
    assert [one["seq"] for one in sent] == [row["seq"] for row in stored] == list(range(1, len(stored) + 1))
    for one, row in zip(sent, stored, strict=True):
        read = SentEvent.model_validate_json(json.dumps(one)).model_dump()
        assert leaf(read) == leaf(row)
    assert known.read("/audit/events", after=len(stored)) == []
    assert [one["seq"] for one in known.read("/audit/events", after=3, limit=2)] == [4, 5]


def test_events_are_found_by_type_and_by_what_they_are_about(known: Known, published: tuple[int, int]) -> None:
    stored = _stored(known)
    applied = known.every("/audit/events", type="promotion.applied", limit=1)
    assert [one["seq"] for one in applied] == [row["seq"] for row in stored if row["event_type"] == "promotion.applied"]
    about = known.every("/audit/events", subject=str(known.first.id))
    expected = [row["seq"] for row in stored if json.loads(row["payload"])["subject"] == str(known.first.id)]
    assert [one["seq"] for one in about] == expected != []
    both = known.read("/audit/events", subject=str(known.first.id), type="artifact.registered")
    assert [json.loads(one["payload"])["digests"]["artifact"] for one in both] == [known.first.checksum]
    assert known.read("/audit/events", subject='"}%_\\') == []
    assert known.read("/audit/events", subject="%") == []


def test_a_search_looks_at_so_many_events_and_the_next_page_goes_on_there(
    known: Known, published: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "MOST_LOOKED_AT", 4)
    answer = known.api.get("/ai-infra/audit/events", params={"type": "promotion.rejected"})
    assert (answer.json(), "after=4" in answer.headers["link"]) == ([], True)
    assert [one["eventType"] for one in known.every("/audit/events", type="promotion.rejected")] == ["promotion.rejected"]


def test_any_event_has_a_proof_that_leads_to_the_newest_checkpoint(known: Known, published: tuple[int, int]) -> None:
    stored = {row["seq"]: row for row in _stored(known)}
    for seq in (1, published[0], published[1]):
        proof = SentProof.model_validate(known.read(f"/audit/events/{seq}/proof"))
        read = log_proof.parse(proof.proof.encode())
        log_proof.verify(read, leaf(stored[seq]), checkpoint.parse(read.checkpoint))
        assert (proof.entry.encode(), read.index) == (leaf(stored[seq]), seq - 1)
        assert known.api.get(f"/ai-infra/audit/events/{seq}/proof", headers=AS_TEXT).text == proof.proof
    assert is_problem(known.api.get("/ai-infra/audit/events/100000/proof"), 404, "There is no event")
    assert is_problem(known.api.get("/ai-infra/audit/events/0/proof"), 400)


def test_the_newest_tree_head_is_the_signed_note_itself(known: Known, published: tuple[int, int]) -> None:
    found = SentCheckpoint.model_validate(known.read("/audit/checkpoint") | {"created_at": datetime.min})
    signed = checkpoint.parse(found.note.encode())
    assert (signed.size, signed.root.hex(), signed.origin) == (found.size, found.root, found.origin)
    assert signed.size >= published[1]
    noted = known.api.get("/ai-infra/audit/checkpoint", headers=AS_TEXT)
    assert (noted.content, noted.headers["content-type"].partition(";")[0]) == (found.note.encode(), "text/plain")


def test_a_later_checkpoint_is_proven_to_continue_an_earlier_one(known: Known, published: tuple[int, int]) -> None:
    old, new = published
    found = SentConsistency.model_validate(known.read("/audit/consistency", **{"from": old, "to": new}))
    head = checkpoint.parse(found.checkpoint.encode())
    consistency_proof.verify(consistency_proof.parse(found.proof.encode()), head)
    merkle.verify_consistency(old, bytes.fromhex(found.from_root), new, bytes.fromhex(found.to_root), log_proof.read_hashes(found.hashes))
    asked = {"from": old, "to": new}
    assert known.api.get("/ai-infra/audit/consistency", params=asked, headers=AS_TEXT).text == found.proof
    assert known.read("/audit/consistency", **{"from": old})["toSize"] >= new


@pytest.mark.parametrize(("query", "status", "text"), [("from=0", 400, ""), ("to=3", 400, ""), ("from=1&to=99999", 404, "No checkpoint")])
def test_a_proof_between_what_was_not_published_is_refused(known: Known, query: str, status: int, text: str) -> None:
    assert is_problem(known.api.get(f"/ai-infra/audit/consistency?{query}"), status, text)


def test_a_proof_backwards_is_refused(known: Known, published: tuple[int, int]) -> None:
    assert is_problem(known.api.get(f"/ai-infra/audit/consistency?from={published[1]}&to={published[0]}"), 400, "smaller size")
