"""What can be read of a model over HTTP: the list, one, its story, its evidence and where it is current."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from aiinfra_core import database
from aiinfra_core.evidence import checkpoint, dsse, log_proof
from aiinfra_core.registry import artifacts, promotions
from aiinfra_core.wire.reading import SentCurrent, SentLineage, SentProof, SentReport, SentStatement
from aiinfra_core.wire.records import SentArtifact, SentModel, SentPromotion, sent_artifact, sent_promotion
from tests.simulators import reading
from tests.simulators.http_story import is_problem
from tests.simulators.reading import Known

home, known = reading.home, reading.known


def test_one_model_is_what_its_records_say_with_all_its_promotions_newest_first(known: Known) -> None:
    found = known.read(f"/models/{known.first.id}")
    with database.transaction(known.settings) as tx:
        own = [sent_promotion(one) for one in promotions.of_artifact(tx, known.first.id)]
    assert SentModel.model_validate_json(json.dumps(found)) == SentModel(artifact=sent_artifact(known.first), promotions=tuple(own))
    assert set(found["artifact"]) == {field.alias for field in SentArtifact.model_fields.values()}
    assert set(found["promotions"][0]) == {field.alias for field in SentPromotion.model_fields.values()}
    assert [one["status"] for one in found["promotions"]] == ["rejected", "applied"]
    assert found["promotions"][0]["sentinelDecision"]["policyId"] == "sentinel-low-quality"


@pytest.mark.parametrize("reference", ["rainfall:1", "snowfall@prod", "rainfall@staging", "snowfall"])
def test_a_model_is_also_found_by_what_a_person_calls_it(known: Known, reference: str) -> None:
    with database.transaction(known.settings) as tx:
        meant = artifacts.find(tx, reference)
    assert known.read(f"/models/{reference}")["artifact"]["id"] == str(meant.id)


@pytest.mark.parametrize("path", ["", "/lineage", "/attestations", "/verify", "/proof"])
@pytest.mark.parametrize("reference", ["3f2b8a4e-5c1d-4e7f-9a6b-1c2d3e4f5a6b", "rainfall:9", "rainfall@nowhere", "unheard-of"])
def test_what_is_not_registered_is_not_found_and_the_answer_says_so(known: Known, path: str, reference: str) -> None:
    assert is_problem(known.api.get(f"/ai-infra/models/{reference}{path}"), 404, "Nothing is registered")


@pytest.mark.parametrize("reference", ["%00", "a%20b", "a:b:c", "-", "a%2Fb%00"])
def test_what_cannot_be_a_name_is_no_reason_to_ask_the_database(known: Known, reference: str) -> None:
    assert known.api.get(f"/ai-infra/models/{reference}").status_code in (400, 404)


def test_what_has_not_changed_is_not_sent_again(known: Known) -> None:
    for path in (f"/ai-infra/models/{known.first.id}", "/ai-infra/environments/staging/models/rainfall"):
        tag = known.api.get(path).headers["etag"]
        again = known.api.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert known.api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_list_is_newest_first_and_pages_of_any_size_hold_each_once(known: Known) -> None:
    whole = known.read("/models")
    ids = [str(one.id) for one in (known.untrained, known.second, known.first)]
    assert [one["id"] for one in whole] == ids
    assert [SentArtifact.model_validate_json(json.dumps(one)) for one in whole] == [
        sent_artifact(one) for one in (known.untrained, known.second, known.first)
    ]
    for limit in (1, 2, 3):
        assert [one["id"] for one in known.every("/models", limit=limit)] == ids
    assert [one["id"] for one in known.read("/models", limit=1, offset=2)] == ids[2:]
    assert known.read("/models", offset=3) == []


_MALFORMED = """
    limit=0 limit=501 offset=-1 offset=100001 offset=1&cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA cursor=x cursor=! bogus=1 version=1
    checksum=5e
    min=0.5 metric=quality&min=NaN createdAfter=2026-01-01 provenance=perhaps model=%00 metric=%00
    model=rainfall&status=applied&offset=1
    cursor=f_______AAAAAAAAAAAAAAAAAAAAAAAA cursor=f_gAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&metric=q&min=0
"""


@pytest.mark.parametrize("query", _MALFORMED.split())
def test_a_malformed_question_is_refused(known: Known, query: str) -> None:
    assert is_problem(known.api.get(f"/ai-infra/models?{query}"), 400)


def test_the_lineage_leads_from_code_and_data_to_what_replaced_it(known: Known) -> None:
    first, second, job = f"artifact:{known.first.id}", f"artifact:{known.second.id}", f"job:{known.first.training_job_id}"
    story = known.read(f"/models/{known.first.id}/lineage")
    SentLineage.model_validate_json(json.dumps(story))
    edges = {(edge["source"], edge["kind"], edge["target"]) for edge in story["edges"]}
    nodes = {node["id"]: node for node in story["nodes"]}
    assert {end for source, _, target in edges for end in (source, target)} == set(nodes)
    assert {
        (first, "made_by", job),
        (job, "ran", f"code:{known.code}"),
        (job, "ran_in", f"container:sha256:{'b' * 64}"),
        (job, "learned_from", f"dataset:{known.rain.sha256}"),
        (second, "replaced", first),
    } <= edges
    kinds = [node["kind"] for node in story["nodes"]]
    assert {kind: kinds.count(kind) for kind in ("evaluation", "promotion", "dataset")} == {"evaluation": 2, "promotion": 3, "dataset": 1}
    measured = [node for node in story["nodes"] if node["kind"] == "evaluation" and node["label"] == "measured by its training"]
    assert (measured[0]["id"], "measured_on", f"dataset:{known.rain.sha256}") in edges
    refused = next(node for node in story["nodes"] if node["label"] == "rainfall in prod: rejected")
    assert {kind for source, kind, _ in edges if source == refused["id"]} == {"promotes"}
    assert nodes[job]["about"]["codeRef"] == known.code


def test_the_lineage_of_what_replaced_it_says_the_same_from_the_other_side(known: Known) -> None:
    story = known.read(f"/models/{known.second.id}/lineage")
    edges = {(edge["source"], edge["kind"], edge["target"]) for edge in story["edges"]}
    assert (f"artifact:{known.second.id}", "replaced", f"artifact:{known.first.id}") in edges
    untrained = known.read(f"/models/{known.untrained.id}/lineage")
    assert {node["kind"] for node in untrained["nodes"]} == {"artifact", "evaluation", "promotion"}


def test_attestations_are_the_exact_bytes_that_were_signed(known: Known) -> None:
    found = known.every(f"/models/{known.first.id}/attestations", limit=2)
    kinds = [one["predicateType"].rpartition("/attestation/")[0] or one["predicateType"] for one in found]
    with database.transaction(known.settings) as tx:
        rows = tx.exec_driver_sql(f"SELECT digest, envelope FROM attestations WHERE subject_checksum = '{known.first.checksum}'").all()
    kept = {row.digest: bytes(row.envelope) for row in rows}
    assert len(kinds) == len(kept) == 6  # training, registration, scan, two evaluations, a manifest
    for one in found:
        SentStatement.model_validate_json(json.dumps(one))
        data = base64.b64decode(one["envelopeBase64"])
        assert (data, json.loads(data)) == (kept.pop(one["digest"]), one["envelope"])
        dsse.parse(data)
    assert not kept


def test_verification_by_the_service_passes_and_finds_what_was_changed(known: Known) -> None:
    report = SentReport.model_validate_json(known.api.get("/ai-infra/models/rainfall:1/verify").text)
    assert report.verified, report.checks
    assert {"history", "registration", "training", "bytes"} <= {check.name for check in report.checks}
    stored = Path(unquote(urlsplit(known.second.artifact_uri).path))
    data = stored.read_bytes()
    stored.chmod(0o644)
    stored.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    try:
        changed = SentReport.model_validate_json(known.api.get("/ai-infra/models/rainfall:2/verify").text)
    finally:
        stored.write_bytes(data)
    assert not changed.verified
    assert [check.name for check in changed.checks if not check.passed] == ["bytes"]


def test_the_proof_of_a_registration_leads_to_a_signed_checkpoint(known: Known) -> None:
    assert known.settings.database_url is not None
    reading.publish(known.settings)
    proof = SentProof.model_validate_json(known.api.get(f"/ai-infra/models/{known.first.id}/proof").text)
    told = json.loads(json.loads(proof.entry)["payload"])
    assert (told["type"], told["subject"]) == ("artifact.registered", str(known.first.id))
    read = log_proof.parse(proof.proof.encode())
    log_proof.verify(read, proof.entry.encode(), checkpoint.parse(read.checkpoint))
    alone = known.api.get(f"/ai-infra/models/{known.first.id}/proof", headers={"Accept": "text/plain"})
    assert (alone.text, alone.headers["content-type"]) == (proof.proof, "text/plain; charset=utf-8")


def test_what_no_checkpoint_covers_yet_has_no_proof_yet(known: Known) -> None:
    reading.publish(known.settings)
    late = reading.trained(known.settings, reading.OTHER_CODE, seed=77)
    try:
        assert is_problem(known.api.get(f"/ai-infra/models/{late.id}/proof"), 409, "ask again in a m")
    finally:
        reading.publish(known.settings)
    assert known.read(f"/models/{late.id}/proof")["seq"] > 1


def test_what_is_current_comes_with_the_manifest_that_made_it_so(known: Known) -> None:
    answer = known.api.get("/ai-infra/environments/staging/models/rainfall")
    found = SentCurrent.model_validate_json(answer.text)
    assert (found.sequence, answer.headers["etag"], found.artifact.id) == (2, '"2"', known.second.id)
    assert (found.promotion.manifest, found.promotion.artifact_id) == (found.manifest.digest, known.second.id)
    said: dict[str, Any] = json.loads(dsse.parse(base64.b64decode(found.manifest.envelope_base64)).payload)
    assert said["predicate"]["resourceUri"] == "mlmodel://rainfall/2?env=staging"
    assert known.read("/environments/production/models/snowfall")["environment"] == "prod"
    assert known.read("/environments") == [{"name": "staging", "order": 1}, {"name": "prod", "order": 2}]


def test_where_nothing_is_current_and_what_is_no_environment_are_not_found(known: Known) -> None:
    assert is_problem(known.api.get("/ai-infra/environments/prod/models/rainfall"), 404, "Nothing is current for rainfall in prod")
    assert is_problem(known.api.get("/ai-infra/environments/moon/models/rainfall"), 404, "known are staging, prod")


def test_a_manifest_that_is_no_envelope_any_more_is_told_as_broken_evidence(known: Known) -> None:
    digest = known.read("/environments/prod/models/snowfall")["manifest"]["digest"]
    assert known.settings.database_url is not None
    with psycopg.connect(known.settings.database_url.get_secret_value(), autocommit=True) as connection:
        kept = connection.execute("SELECT envelope FROM attestations WHERE digest = %s", [digest]).fetchone()
        connection.execute("SET session_replication_role = replica")
        change = "UPDATE attestations SET envelope = %s WHERE digest = %s"
        connection.execute(change, [b"{", digest])
        try:
            assert is_problem(known.api.get("/ai-infra/environments/prod/models/snowfall"), 500, "envelope")
            assert is_problem(known.api.get(f"/ai-infra/models/{known.untrained.id}/attestations"), 500, "envelope")
        finally:
            connection.execute(change, [*(kept or ()), digest])
