"""What each act states: every field of training, registration, evaluation and promotion, and what is not stated."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import DigestKind, EvaluationKind
from aiinfra_core.domain.training import DatasetRef
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.statement import Subject
from tests.simulators.sample_statements import (
    COMMIT,
    HEX,
    ID,
    MOMENT,
    WRITTEN,
    evaluation,
    promotion,
    registration,
    spec,
    training,
)


def claim(payload: bytes) -> dict[str, Any]:
    value = json.loads(payload)
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["subject"] == [{"name": "rainfall", "digest": {"sha256": HEX}}]
    predicate: dict[str, Any] = value["predicate"]
    return predicate


def test_training_is_stated_as_slsa_provenance() -> None:
    asked = spec()
    assert json.loads(training())["predicateType"] == "https://slsa.dev/provenance/v1"
    assert claim(training()) == {
        "buildDefinition": {
            "buildType": "urn:ai-infra:build:training:v1",
            "externalParameters": {
                "model": "rainfall",
                "codeRef": asked.code_ref,
                "entryPoint": "train.py",
                "containerDigest": f"sha256:{HEX}",
                "containerDigestSource": "declared",
                "seed": "4294967295",
                "hyperparamsDigest": {"sha256": sha256_hex(b'{"depth":3,"rate":0.1}')},
            },
            "resolvedDependencies": [
                {"name": "code", "uri": f"git+{asked.code_ref}", "digest": {"gitCommit": COMMIT}},
                {"name": "data-0", "uri": "s3://bucket/data-0.parquet", "digest": {"sha256": sha256_hex(b"0")}},
                {"name": "training.json", "digest": {"sha256": HEX}},
            ],
        },
        "runDetails": {
            "builder": {"id": "urn:ai-infra:executor:process"},
            "metadata": {"invocationId": str(ID), "startedOn": WRITTEN, "finishedOn": WRITTEN},
        },
    }


def test_training_without_an_entry_point_names_the_deterministic_executor() -> None:
    predicate = claim(training(spec(entry_point=None, code_ref=f"/src/rain@{COMMIT}")))
    assert predicate["runDetails"]["builder"]["id"] == "urn:ai-infra:executor:deterministic"
    assert predicate["buildDefinition"]["externalParameters"]["entryPoint"] is None
    assert predicate["buildDefinition"]["resolvedDependencies"][0] == {"name": "code", "digest": {"gitCommit": COMMIT}}


@pytest.mark.parametrize(("datasets", "listed"), [(0, 0), (8, 8), (9, 0), (256, 0)])
def test_many_datasets_stand_only_in_the_training_record(datasets: int, listed: int) -> None:
    dependencies = claim(training(spec(datasets)))["buildDefinition"]["resolvedDependencies"]
    assert len(dependencies) == listed + 2
    assert dependencies[-1] == {"name": "training.json", "digest": {"sha256": HEX}}
    assert dependencies[0]["digest"] == {"gitCommit": COMMIT}


def test_training_with_the_longest_names_can_still_be_stated() -> None:
    refs = tuple(DatasetRef(name=f"data-{n}", uri=f"s3://{'b' * 2000}", sha256=HEX) for n in range(8))
    long = spec(model="m" * 128, entry_point=f"{'e' * 197}.py", code_ref=f"https://git.example/{'h' * 1980}@{COMMIT}", dataset_refs=refs)
    assert dsse.fits(training(long))


def test_registration_is_stated_in_full() -> None:
    assert claim(registration(manifest_signature_id="sig-1")) == {
        "artifactId": str(ID),
        "model": "rainfall",
        "artifactUri": "s3://models/x",
        "trainingJobId": str(ID),
        "provenance": "recorded",
        "trainingAttestation": HEX,
        "metadataDigest": sha256_hex(b'{"owner":"weather"}'),
        "manifestSignatureId": "sig-1",
        "registeredBy": "ada",
        "registeredAt": WRITTEN,
    }


def test_a_model_trained_elsewhere_is_stated_as_without_provenance() -> None:
    predicate = claim(registration(training_job_id=None, training_attestation=None))
    assert (predicate["provenance"], predicate["trainingJobId"], predicate["trainingAttestation"]) == ("none", None, None)


def test_a_directory_is_stated_by_its_dirhash() -> None:
    payload = registration(subject=Subject("rainfall", DigestKind.DIRECTORY, HEX))
    assert json.loads(payload)["subject"] == [{"name": "rainfall", "digest": {"dirHash": HEX}}]
    assert statement.parse(payload).subject.digest_kind is DigestKind.DIRECTORY


def test_evaluation_is_stated_with_metrics_as_text() -> None:
    metrics = {"quality": "0.8641", "loss": 0.5, "count": 12000, "note": "fine", "passed": True, "missing": None, "parts": [0.1, 1e21]}
    assert claim(evaluation(kind=EvaluationKind.CLAIMED, metrics=metrics)) == {
        "artifactId": str(ID),
        "model": "rainfall",
        "kind": "claimed",
        "metrics": {
            "quality": "0.8641",
            "loss": "0.5",
            "count": "12000",
            "note": "fine",
            "passed": "true",
            "missing": "null",
            "parts": "[0.1,1e+21]",
        },
        "datasets": [{"name": "held-out", "sha256": HEX}],
        "evaluationDigest": HEX,
        "recordedBy": "ada",
        "evaluatedAt": WRITTEN,
    }


def test_bulky_metrics_and_many_datasets_are_stated_by_the_digest_only() -> None:
    payload = evaluation(metrics={"text": "x" * 60_000}, datasets={f"data-{n}": HEX for n in range(9)})
    assert (claim(payload)["metrics"], claim(payload)["datasets"]) == (None, None)
    assert dsse.fits(payload)


def test_promotion_is_stated_as_a_verification_summary() -> None:
    assert json.loads(promotion())["predicateType"] == "https://slsa.dev/verification_summary/v1"
    assert claim(promotion()) == {
        "verifier": {"id": "urn:ai-infra:verifier"},
        "timeVerified": WRITTEN,
        "resourceUri": "mlmodel://rainfall/3?env=prod",
        "policy": {"uri": "urn:ai-infra:policy:local:sentinel-allow", "digest": {"sha256": HEX}},
        "inputAttestations": [{"uri": f"urn:ai-infra:statement:sha256:{HEX}", "digest": {"sha256": HEX}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["AIINFRA_PROMOTED"],
        "slsaVersion": "1.0",
        "urn:ai-infra:attestation:promotion:v1": {
            "promotionId": str(ID),
            "environment": "prod",
            "sequence": 8,
            "follows": HEX,
            "requestedBy": "ada",
            "approvers": ["grace"],
            "rollback": False,
        },
    }


def test_the_first_promotion_follows_none_and_a_gate_may_not_tell_its_policy() -> None:
    predicate = claim(promotion(sequence=1, follows=None, policy_digest=None))
    assert predicate["urn:ai-infra:attestation:promotion:v1"]["follows"] is None
    assert predicate["policy"] == {"uri": "urn:ai-infra:policy:local:sentinel-allow"}


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 0},
        {"sequence": True},
        {"sequence": 2**53},
        {"version": 0},
        {"environment": "prod?x=1"},
        {"model": "../x"},
        {"follows": "nope"},
        {"policy_digest": HEX.upper()},
        {"input_attestations": [""]},
        {"verified_at": MOMENT.replace(tzinfo=None)},
        {"approvers": ["a" * 250] * 20},
        {"requested_by": "x" * 5000},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_promotion_that_makes_no_sense_is_not_stated(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        promotion(**changes)


@pytest.mark.parametrize("checksum", ["", "abc", HEX.upper(), HEX + "0", f"{HEX}\n"])
def test_a_subject_needs_a_hex_sha256(checksum: str) -> None:
    with pytest.raises(BadInput):
        Subject("rainfall", DigestKind.FILE, checksum)


def test_times_are_utc_with_microseconds() -> None:
    assert statement.timestamp(MOMENT) == WRITTEN
    assert statement.timestamp(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000000Z"
