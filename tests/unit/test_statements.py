import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
import rfc8785

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import DigestKind, EvaluationKind
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import dsse, predicates, statement, statements
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.signing import local

ID = UUID("7b0f3a52-3c1e-4a5e-9d8e-0a1b2c3d4e5f")
HEX = "ab" * 32
COMMIT = "c0ffee" * 6 + "c0de"
SUBJECT = Subject("rainfall", DigestKind.FILE, HEX)
MOMENT = datetime(2026, 3, 1, 11, 22, 33, 45, tzinfo=timezone(timedelta(hours=1)))
WRITTEN = "2026-03-01T10:22:33.000045Z"
SIGNER = local.from_base64(local.generate())


def spec(datasets: int = 1, **changes: Any) -> TrainingSpec:
    refs = tuple(DatasetRef(name=f"data-{n}", uri=f"s3://bucket/data-{n}.parquet", sha256=sha256_hex(b"%d" % n)) for n in range(datasets))
    fields = {
        "model": "rainfall",
        "code_ref": f"https://git.example/rain.git@{COMMIT}",
        "container_digest": f"sha256:{HEX}",
        "entry_point": "train.py",
        "hyperparams": {"depth": 3, "rate": 0.1},
        "dataset_refs": refs,
        "seed": 2**32 - 1,
    }
    return TrainingSpec.model_validate({**fields, **changes})


def training(asked: TrainingSpec | None = None) -> bytes:
    return statements.training(
        job_id=ID, spec=asked or spec(), subject=SUBJECT, training_record_sha256=HEX, started_at=MOMENT, finished_at=MOMENT
    )


def registration(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact_id": ID,
        "model": "rainfall",
        "subject": SUBJECT,
        "artifact_uri": "s3://models/x",
        "metadata": {"owner": "weather"},
        "registered_by": "ada",
        "registered_at": MOMENT,
        "training_job_id": ID,
        "training_attestation": HEX,
    }
    return statements.registration(**{**fields, **changes})


def evaluation(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact_id": ID,
        "model": "rainfall",
        "subject": SUBJECT,
        "kind": EvaluationKind.MEASURED,
        "metrics": {"quality": "0.8641"},
        "evaluation_digest": HEX,
        "recorded_by": "ada",
        "evaluated_at": MOMENT,
        "datasets": {"held-out": HEX},
    }
    return statements.evaluation(**{**fields, **changes})


def promotion(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "promotion_id": ID,
        "model": "rainfall",
        "version": 3,
        "environment": "prod",
        "subject": SUBJECT,
        "sequence": 8,
        "follows": HEX,
        "requested_by": "ada",
        "policy_uri": "urn:ai-infra:policy:local:sentinel-allow",
        "policy_digest": HEX,
        "input_attestations": [HEX],
        "verified_at": MOMENT,
        "approvers": ["grace"],
    }
    return statements.promotion(**{**fields, **changes})


def claim(payload: bytes) -> dict[str, Any]:
    value = json.loads(payload)
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["subject"] == [{"name": "rainfall", "digest": {"sha256": HEX}}]
    predicate: dict[str, Any] = value["predicate"]
    return predicate


ALL = {"training": training(), "registration": registration(), "evaluation": evaluation(), "promotion": promotion()}


@pytest.mark.parametrize("payload", ALL.values(), ids=ALL.keys())
def test_a_statement_is_canonical_json_that_can_be_signed_and_read_back(payload: bytes) -> None:
    assert payload == rfc8785.dumps(json.loads(payload))
    opened = dsse.open_envelope(dsse.sign(payload, SIGNER), {SIGNER.public_key.keyid: SIGNER.public_key})
    read = statement.parse(opened)
    assert (read.subject, read.digest) == (SUBJECT, sha256_hex(payload))
    assert isinstance(read.predicate, predicates.SHAPES[read.predicate_type])
    assert float not in {type(item) for item in scalars(json.loads(payload))}


def scalars(value: Any) -> list[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if children is None else [item for child in children for item in scalars(child)]


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


def changed(payload: bytes, path: list[Any], value: Any) -> bytes:
    """The payload with one value set, or taken out when it is `...`."""
    whole = json.loads(payload)
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return canonical_json.dumps(whole)


EXTENSION = ["predicate", predicates.PROMOTION_EXTENSION]
REFUSED: list[tuple[bytes, list[Any], Any, str]] = [
    (registration(), ["_type"], "https://in-toto.io/Statement/v0.1", "statement"),
    (registration(), ["_type"], ..., "statement"),
    (registration(), ["predicateType"], "https://example.com/other", "predicate type"),
    (registration(), ["predicateType"], [], "predicate type"),
    (registration(), ["predicateType"], predicates.EVALUATION, "predicate"),
    (registration(), ["predicate"], ..., "predicate"),
    (registration(), ["predicate"], [], "predicate"),
    (registration(), ["predicate", "extra"], 1, "predicate"),
    (registration(), ["predicate", "artifact_id"], "x", "predicate"),
    (registration(), ["predicate", "model"], ..., "predicate"),
    (registration(), ["predicate", "model"], 7, "predicate"),
    (registration(), ["predicate", "provenance"], "some", "predicate"),
    (registration(), ["predicate", "registeredAt"], "2026-03-01T10:22:33Z", "predicate"),
    (evaluation(), ["predicate", "kind"], "guessed", "predicate"),
    (evaluation(), ["predicate", "metrics", "quality"], 0.9, "predicate"),
    (evaluation(), ["predicate", "datasets", 0, "extra"], 1, "predicate"),
    (training(), ["predicate", "buildDefinition", "buildType"], "https://example.com/build", "predicate"),
    (training(), ["predicate", "buildDefinition", "externalParameters", "seed"], 7, "predicate"),
    (training(), ["predicate", "buildDefinition", "resolvedDependencies", 0, "digest"], {"md5": "x"}, "predicate"),
    (promotion(), ["predicate", "verificationResult"], "FAILED", "predicate"),
    (promotion(), ["predicate", "verifiedLevels"], ["SLSA_BUILD_LEVEL_3"], "predicate"),
    (promotion(), ["predicate", "verifier", "id"], "https://example.com", "predicate"),
    (promotion(), EXTENSION, ..., "predicate"),
    (promotion(), [*EXTENSION, "extra"], 1, "predicate"),
    (promotion(), [*EXTENSION, "sequence"], "8", "predicate"),
    (promotion(), [*EXTENSION, "sequence"], 8.5, "predicate"),
    (promotion(), [*EXTENSION, "rollback"], 0, "predicate"),
    (promotion(), [*EXTENSION, "follows"], ..., "predicate"),
    (promotion(), ["subject"], [], "subject"),
    (promotion(), ["subject"], ..., "subject"),
    (promotion(), ["subject"], [{"name": "a", "digest": {"sha256": HEX}}] * 2, "subject"),
    (promotion(), ["subject", 0, "name"], 1, "subject"),
    (promotion(), ["subject", 0, "name"], "", "subject"),
    (promotion(), ["subject", 0, "digest"], {"sha1": "x"}, "subject"),
    (promotion(), ["subject", 0, "digest"], {"sha256": HEX, "dirHash": HEX}, "subject"),
    (promotion(), ["subject", 0, "digest", "sha256"], HEX.upper(), "subject"),
    (promotion(), ["subject", 0, "digest", "sha256"], 7, "subject"),
]


@pytest.mark.parametrize(("payload", "path", "value", "place"), REFUSED, ids=[f"{path[-1]}={value}"[:60] for _, path, value, _ in REFUSED])
def test_a_statement_of_another_shape_is_not_believed(payload: bytes, path: list[Any], value: Any, place: str) -> None:
    with pytest.raises(EvidenceBroken) as caught:
        statement.parse(changed(payload, path, value))
    assert caught.value.place == place


@pytest.mark.parametrize("payload", [b"", b"[]", b"{", b'{"_type":1,"_type":2}', b'{"a":NaN}', b"\xff"])
def test_what_is_no_strict_json_object_is_no_statement(payload: bytes) -> None:
    with pytest.raises(EvidenceBroken, match=r"^statement: "):
        statement.parse(payload)


def test_fields_unknown_to_us_are_ignored_in_standard_predicates() -> None:
    for payload, path in (
        (training(), ["predicate", "runDetails", "byproducts"]),
        (training(), ["predicate", "buildDefinition", "internalParameters"]),
        (promotion(), ["predicate", "dependencyLevels"]),
        (promotion(), ["annotations"]),
        (promotion(), ["subject", 0, "uri"]),
    ):
        assert statement.parse(changed(payload, path, "something new")).subject == SUBJECT


def test_the_digest_of_a_statement_is_that_of_its_exact_bytes() -> None:
    spaced = promotion().replace(b":", b": ", 1)
    assert statement.parse(spaced).digest == sha256_hex(spaced) != statement.parse(promotion()).digest
    assert base64.b64decode(json.loads(dsse.sign(spaced, SIGNER))["payload"]) == spaced
