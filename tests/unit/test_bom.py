"""The bill of materials: valid by the official schema whatever was recorded, complete, and the same bytes for the same records."""

import json
import math
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import Artifact, DigestKind, Evaluation, EvaluationKind
from aiinfra_core.domain.promotion import Promotion, PromotionStatus
from aiinfra_core.domain.training import DatasetRef, JobStatus, TrainingJob, TrainingSpec
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.bom import bill_of_materials
from tests.simulators.sample_statements import COMMIT, HEX, ID, spec

AT = datetime(2026, 3, 1, 10, 22, 33, 45, tzinfo=UTC)
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
TEXTS = st.text(max_size=60)
LOCAL = f"/src/rain@{COMMIT}"  # the validator reads a URL in a tenth of a second
METADATA = {
    "description": "Rain tomorrow, from fifty years of weather",
    "approach": "supervised",
    "task": "regression",
    "architectureFamily": "linear",
    "owner": "weather",
    "considerations": {"users": ["forecasters"], "technicalLimitations": ["not for hail", 7], "unknown": ["x"]},
}


def artifact(**changes: Any) -> Artifact:
    fields: dict[str, Any] = {
        "id": ID,
        "model": "rainfall",
        "version": 3,
        "training_job_id": None,
        "artifact_uri": "s3://models/artifacts/x.model",
        "digest_kind": DigestKind.FILE,
        "checksum": HEX,
        "size_bytes": 4711,
        "metadata": {},
        "manifest_signature_id": None,
        "signer_id": "test",
        "signature": "c2ln",
        "attestation": sha256_hex(b"registration"),
        "registered_by": "ada",
        "created_at": AT,
    }
    return Artifact(**{**fields, **changes})


def job(asked: TrainingSpec) -> TrainingJob:
    return TrainingJob(
        id=UUID(int=7),
        request_id="train",
        spec=asked,
        requested_by="ada",
        status=JobStatus.COMPLETED,
        created_at=AT,
        updated_at=AT,
        training_record_sha256=sha256_hex(record()),
        attestation=sha256_hex(b"training"),
    )


def record(packages: tuple[str, ...] = ("numpy==2.3.4", "scikit-learn==1.7.2")) -> bytes:
    lock = {
        "implementation": "CPython",
        "interpreter": "3.11.2",
        "packages": packages,
        "platform": "Linux-x86_64-glibc-2.36",
        "digest": HEX,
    }
    return canonical_json.dumps({"executor": "process", "spec": {}, "commit": COMMIT, "datasets": {}, "environment": lock})


def evaluation(number: int, kind: EvaluationKind, metrics: dict[str, Any]) -> Evaluation:
    return Evaluation(
        id=UUID(int=number),
        artifact_id=ID,
        kind=kind,
        metrics=metrics,
        digest=sha256_hex(b"%d" % number),
        attestation=sha256_hex(b"evaluation %d" % number),
        recorded_by="ada",
        created_at=AT,
    )


def promotion(number: int) -> Promotion:
    return Promotion(
        id=UUID(int=number),
        request_id="promote",
        artifact_id=ID,
        model="rainfall",
        environment="prod",
        status=PromotionStatus.APPLIED,
        evaluation={},
        evaluation_kind=None,
        evaluation_digest=None,
        sequence_seen=number,
        decision=None,
        reason=None,
        requested_by="ada",
        manifest=sha256_hex(b"manifest %d" % number),
        signature=None,
        signer_id=None,
        follows=None,
        created_at=AT,
        updated_at=AT,
        applied_at=AT,
    )


def full(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact": artifact(training_job_id=UUID(int=7), metadata=METADATA),
        "job": job(spec(2)),
        "training_record": record(),
        "evaluations": [
            evaluation(1, EvaluationKind.MEASURED, {"quality": 0.5}),
            evaluation(2, EvaluationKind.MEASURED, {"quality": 0.8641, "rows": 12000}),
            evaluation(3, EvaluationKind.CLAIMED, {"quality": "0.99"}),
        ],
        "promotions": [promotion(1), promotion(2)],
    }
    return bill_of_materials(**{**fields, **changes})


def read(bill: bytes) -> dict[str, Any]:
    problem = VALIDATOR.validate_str(bill.decode())
    assert problem is None, repr(problem)
    value: dict[str, Any] = canonical_json.loads(bill)
    return value


def properties(part: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["name"].removeprefix("aiinfra:"), one["value"]) for one in part["properties"]]


def test_a_model_without_provenance_has_a_bill_too() -> None:
    bill = read(bill_of_materials(artifact=artifact()))
    model = bill["metadata"]["component"]
    assert (bill["specVersion"], bill["version"], bill["metadata"]["timestamp"]) == ("1.6", 1, "2026-03-01T10:22:33.000045+00:00")
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "rainfall", "3")
    assert model["hashes"] == [{"alg": "SHA-256", "content": HEX}]
    assert ("provenance", "no provenance") in properties(model)
    assert "artifact:dirHash" not in dict(properties(model))
    assert ("statement:registration", sha256_hex(b"registration")) in properties(model)
    assert model["modelCard"] == {}
    assert "components" not in bill
    assert bill["serialNumber"] == "urn:uuid:772b42c7-a175-5040-a666-66417f8e3d95"


def test_a_full_bill_names_everything_the_model_was_made_of() -> None:
    bill = read(full())
    model, parts = bill["metadata"]["component"], {part["bom-ref"]: part for part in bill["components"]}
    data = parts["dataset:data-0"]
    assert (data["type"], data["hashes"]) == ("data", [{"alg": "SHA-256", "content": sha256_hex(b"0")}])
    assert data["data"] == [{"type": "dataset", "name": "data-0", "contents": {"url": "s3://bucket/data-0.parquet"}}]
    assert ("dataset:uri", "s3://bucket/data-0.parquet") in properties(data)
    assert parts["pkg:pypi/numpy@2.3.4"]["purl"] == "pkg:pypi/numpy@2.3.4"
    assert (parts["interpreter"]["type"], parts["interpreter"]["version"]) == ("platform", "3.11.2")
    assert model["pedigree"]["commits"] == [{"uid": COMMIT, "url": "https://git.example/rain.git"}]
    assert {"type": "vcs", "url": "https://git.example/rain.git"} in model["externalReferences"]
    depends = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert sorted(depends["model:rainfall:3"]) == sorted(parts)


def test_the_model_card_shows_what_was_measured_and_keeps_claims_apart() -> None:
    card = read(full())["metadata"]["component"]["modelCard"]
    assert card["quantitativeAnalysis"] == {
        "performanceMetrics": [{"type": "quality", "value": "0.8641"}, {"type": "rows", "value": "12000"}]
    }
    assert card["properties"] == [{"name": "aiinfra:claimed:quality", "value": "0.99"}]
    assert card["modelParameters"] == {
        "approach": {"type": "supervised"},
        "task": "regression",
        "architectureFamily": "linear",
        "datasets": [{"ref": "dataset:data-0"}, {"ref": "dataset:data-1"}],
    }
    assert card["considerations"] == {"users": ["forecasters"], "technicalLimitations": ["not for hail"]}


def test_metadata_that_is_not_in_the_words_of_a_model_card_stays_out_of_it() -> None:
    odd = {
        "description": ["x"],
        "approach": "guessed",
        "task": 7,
        "modelArchitecture": None,
        "considerations": {"users": "all", "useCases": [7]},
    }
    model = read(full(artifact=artifact(metadata=odd), job=None, evaluations=[]))["metadata"]["component"]
    assert model["modelCard"] == {}
    assert "description" not in model


def test_the_bill_names_every_statement_about_the_model() -> None:
    found = [it for it in properties(read(full())["metadata"]["component"]) if it[0].startswith("statement:")]
    assert sorted(found) == sorted(
        [
            ("statement:registration", sha256_hex(b"registration")),
            ("statement:training", sha256_hex(b"training")),
            *(("statement:evaluation", sha256_hex(b"evaluation %d" % number)) for number in (1, 2, 3)),
            *(("statement:promotion", sha256_hex(b"manifest %d" % number)) for number in (1, 2)),
        ]
    )


def test_a_directory_has_no_hash_of_a_file_but_its_dirhash() -> None:
    model = read(bill_of_materials(artifact=artifact(digest_kind=DigestKind.DIRECTORY)))["metadata"]["component"]
    assert "hashes" not in model
    assert ("artifact:dirHash", HEX) in properties(model)


def test_the_same_records_give_the_same_bytes_and_more_records_a_higher_version_of_the_same_bill() -> None:
    assert full() == full()
    assert full(promotions=[promotion(2), promotion(1)]) == full()
    less, more = read(full(promotions=[])), read(full())
    assert (less["version"], more["version"]) == (4, 6)
    assert less["serialNumber"] == more["serialNumber"]


@pytest.mark.parametrize("changes", [{"attestation": sha256_hex(b"other")}, {"version": 4}, {"model": "rain"}], ids=str)
def test_another_registration_has_another_serial_number(changes: dict[str, Any]) -> None:
    assert read(full(artifact=artifact(**changes)))["serialNumber"] != read(full())["serialNumber"]


@pytest.mark.parametrize("kind", EvaluationKind)
def test_a_number_that_json_does_not_know_is_written_as_text(kind: EvaluationKind) -> None:
    metrics = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": "NaN", "e": None, "f": [1, 2.5], "g": True, "h": 1e300}
    bill = full(evaluations=[evaluation(1, kind, metrics)])
    card = read(bill)["metadata"]["component"]["modelCard"]
    listed = [it["value"] for it in (card.get("properties") or card["quantitativeAnalysis"]["performanceMetrics"])]
    assert listed == ["nan", "inf", "-inf", "NaN", "null", "[1,2.5]", "true", "1e+300"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", b'{"executor":"process"}', record().replace(b'"CPython"', b"7"), record(("numpy",)), record(("==1",))],
    ids=lambda data: str(data)[:30],
)
def test_a_training_record_of_another_shape_makes_no_bill(data: bytes) -> None:
    with pytest.raises(EvidenceBroken, match=r"^training\.json: "):
        full(training_record=data)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
)


@settings(max_examples=50, deadline=None)
@given(
    metadata=st.dictionaries(st.sampled_from([*METADATA, "modelArchitecture", "extra"]) | TEXTS, JSON),
    uris=st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="@"), min_size=1, max_size=300), max_size=3),
    metrics=st.dictionaries(TEXTS, st.floats() | TEXTS | st.lists(st.integers(-9, 9))),
    kind=st.sampled_from(EvaluationKind),
    place=st.text(max_size=300),
)
def test_whatever_was_recorded_the_bill_is_valid(
    metadata: dict[str, Any], uris: list[str], metrics: dict[str, Any], kind: EvaluationKind, place: str
) -> None:
    refs = tuple(DatasetRef(name=f"data-{n}", uri=uri, sha256=HEX) for n, uri in enumerate(uris))
    described = artifact(metadata=metadata, artifact_uri=place, training_job_id=ID)
    bill = full(artifact=described, job=job(spec(dataset_refs=refs, code_ref=LOCAL)), evaluations=[evaluation(1, kind, metrics)])
    parts = read(bill)["components"]
    assert {dict(properties(part))["dataset:uri"] for part in parts if part["type"] == "data"} == set(uris)


@settings(max_examples=20, deadline=None)
@given(st.from_regex(r"[a-z][a-z0-9+.-]{0,8}://[A-Za-z0-9.-]{0,9}(:[0-9]{1,5})?(/[A-Za-z0-9._~!$&()*+,;=:@/-]{0,20})?", fullmatch=True))
def test_a_place_that_looks_like_a_url_makes_a_valid_one(place: str) -> None:
    references = read(bill_of_materials(artifact=artifact(artifact_uri=place)))["metadata"]["component"]["externalReferences"]
    assert references == [{"type": "distribution", "url": place}]


def test_long_names_and_many_parts_are_told_whole() -> None:
    refs = tuple(DatasetRef(name=f"{'d' * 120}{n}", uri=f"s3://b/{'u' * 600}" if n == 0 else "/data", sha256=HEX) for n in range(256))
    packages = tuple(f"package-{n}==1.{n}" for n in range(500))
    described = artifact(model="m" * 128, metadata={"description": "雨" * 20_000, "task": "\x00\u2028🌧"}, training_job_id=ID)
    bill = read(full(artifact=described, job=job(spec(dataset_refs=refs, code_ref=LOCAL)), training_record=record(packages)))
    assert len(bill["components"]) == 256 + 500 + 1
    assert bill["metadata"]["component"]["modelCard"]["modelParameters"]["task"] == "\x00\u2028🌧"
    assert json.dumps(bill["metadata"]["component"]["description"]).count("\\u96e8") == 20_000
