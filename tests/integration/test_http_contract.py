"""The service's HTTP contract in the story of the service it replaces, through real sockets."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from aiinfra_core import jobs, verifying
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.settings import Settings
from tests.factories import CONTAINER, make_training_repository
from tests.simulators import http_story
from tests.simulators.http_story import MODELS, PROMOTE, REGISTER, TRAIN, is_problem, open_to_debug
from tests.simulators.service import calling

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _time(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value) is not None


def _id(value: Any) -> bool:
    return isinstance(value, str) and str(UUID(value)) == value


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _whole(value: Any) -> bool:
    return type(value) is int


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


# DESIGN §10: these names, and nothing may change them; more may be there.
JOB: dict[str, Check] = {
    "id": _id,
    "codeRef": _text,
    "containerDigest": _text,
    "hyperparams": _object,
    "datasetRefs": _list,
    "seed": _whole,
    "status": _text,
    "createdAt": _time,
    "updatedAt": _time,
}
ARTIFACT: dict[str, Check] = {
    "id": _id,
    "trainingJobId": _or_null(_id),
    "artifactUri": _text,
    "checksum": _text,
    "metadata": _object,
    "signerId": _text,
    "signature": _text,
    "manifestSignatureId": _or_null(_text),
    "createdAt": _time,
}
PROMOTION: dict[str, Check] = {
    "id": _id,
    "artifactId": _id,
    "environment": _text,
    "status": lambda value: value in ("applied", "rejected", "pending_approval", "superseded"),
    "evaluation": _object,
    "sentinelDecision": lambda value: _has(value, {"allowed": lambda it: isinstance(it, bool), "policyId": _text, "reason": _text}),
    "promotedBy": _text,
    "promotedAt": _or_null(_time),
    "signature": _or_null(_text),
    "signerId": _or_null(_text),
    "createdAt": _time,
}


def _has(value: dict[str, Any], names: dict[str, Check]) -> bool:
    for name, check in names.items():
        assert name in value, f"{name} is missing"
        assert check(value[name]), f"{name} is {value[name]!r}"
    return True


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return open_to_debug(settings)


@pytest.fixture
def api(open_settings: Settings) -> Iterator[httpx.Client]:
    with calling(open_settings) as client:
        yield client


@pytest.fixture
def training(tmp_path: Path) -> dict[str, Any]:
    return {
        "codeRef": make_training_repository(tmp_path / "rainfall"),
        "containerDigest": CONTAINER,
        "entryPoint": "train.py",
        "hyperparams": {"epochs": 3},
        "datasetRefs": [],
        "seed": 7,
    }


def _of(job: TrainingJob) -> dict[str, Any]:
    return {"trainingJobId": str(job.id), "artifactUri": job.artifact_uri, "checksum": job.checksum, "metadata": {"framework": "none"}}


@pytest.fixture
def stored(open_settings: Settings, tmp_path: Path) -> dict[str, Any]:
    """Bytes trained elsewhere, as a registration asks for them."""
    return http_story.stored(open_settings, tmp_path, model="elsewhere")


def test_a_model_goes_from_training_to_production_as_the_service_before_told_it(
    api: httpx.Client, open_settings: Settings, training: dict[str, Any]
) -> None:
    asked = api.post(TRAIN, json=training)
    assert (asked.status_code, asked.json()["status"], asked.headers["location"]) == (201, "queued", f"/ai-infra/jobs/{asked.json()['id']}")
    assert _has(asked.json(), JOB)
    assert {name: asked.json()[name] for name in training} == training
    assert (asked.json()["model"], asked.json()["updatedAt"]) == ("rainfall", asked.json()["createdAt"])

    job = jobs.run_training(open_settings, UUID(asked.json()["id"]), on_output=lambda _: None)
    registered = api.post(REGISTER, json=_of(job) | {"manifestSignatureId": "sig-1"})
    artifact = registered.json()
    assert (registered.status_code, artifact["version"], artifact["provenance"]) == (201, 1, "trained")
    assert _has(artifact, ARTIFACT)
    assert (artifact["trainingJobId"], artifact["manifestSignatureId"]) == (str(job.id), "sig-1")
    assert (artifact["checksum"], artifact["metadata"]) == (job.checksum, {"framework": "none"})

    for quality, environment in ((0.9, "staging"), (0.95, "prod")):
        promoted = api.post(
            PROMOTE,
            json={
                "artifactId": artifact["id"],
                "environment": environment,
                "evaluation": {"quality": quality},
                "requestedBy": "debug",
            },
        )
        assert (promoted.status_code, promoted.json()["status"], promoted.headers["etag"]) == (200, "applied", '"1"')
        assert _has(promoted.json(), PROMOTION)
        assert (promoted.json()["sentinelDecision"]["allowed"], promoted.json()["promotedBy"]) == (True, "debug")
        assert (promoted.json()["evaluation"], promoted.json()["environment"]) == ({"quality": quality}, environment)
        assert None not in (promoted.json()["promotedAt"], promoted.json()["signature"], promoted.json()["signerId"])

    refused = api.post(PROMOTE, json={"artifactId": artifact["id"], "environment": "prod", "evaluation": {"quality": 0.5}})
    assert (refused.status_code, refused.json()["status"], "etag" in refused.headers) == (200, "rejected", False)
    assert _has(refused.json(), PROMOTION)
    assert refused.json()["sentinelDecision"] | {"allowed": False, "policyId": "sentinel-low-quality"} == refused.json()["sentinelDecision"]
    assert (refused.json()["promotedAt"], refused.json()["signature"]) == (None, None)

    listed = api.get(MODELS, params={"trainingJobId": str(job.id)})
    assert (listed.status_code, [it["id"] for it in listed.json()]) == (200, [artifact["id"]])
    assert _has(listed.json()[0], ARTIFACT)
    assert api.get(MODELS, params={"checksum": job.checksum}).json() == listed.json()
    assert api.get(MODELS, params={"checksum": "0" * 64}).json() == []

    detail = api.get(f"{MODELS}/{artifact['id']}")
    assert detail.status_code == 200
    assert _has(detail.json()["artifact"], ARTIFACT)
    assert [(it["environment"], it["status"]) for it in detail.json()["promotions"]] == [
        ("prod", "rejected"),
        ("prod", "applied"),
        ("staging", "applied"),
    ]
    assert all(_has(it, PROMOTION) for it in detail.json()["promotions"])
    assert detail.json()["promotions"][0] == refused.json()
    assert verifying.verify_history(open_settings).findings == []


def test_what_is_not_there_is_404(api: httpx.Client, stored: dict[str, Any]) -> None:
    unknown = str(uuid4())
    assert is_problem(api.get(f"{MODELS}/{unknown}"), 404, unknown)
    assert is_problem(api.post(REGISTER, json=stored | {"trainingJobId": unknown}), 404, unknown)
    assert is_problem(api.post(PROMOTE, json={"artifactId": unknown, "environment": "prod", "evaluation": {"quality": 1}}), 404, unknown)
    assert is_problem(api.post(PROMOTE, json={"artifactId": unknown, "environment": "nowhere"}), 404, "nowhere")
    assert is_problem(api.get("/ai-infra/nothing-here"), 404)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TRAIN, b"{"),
        (TRAIN, b'{"seed": 1, "seed": 2}'),
        (TRAIN, b'{"hyperparams": {"rate": NaN}}'),
        (TRAIN, b"[]"),
        (REGISTER, b'{"artifactUri": "file:///x"}'),
        (PROMOTE, b'{"artifactId": "none", "environment": "prod"}'),
        (PROMOTE, b'{"artifactId": "0b1d2c3e-8d1f-4a39-a3a5-4c5f3c1f7e21", "environment": "prod", "approved": true}'),
    ],
)
def test_a_malformed_body_is_400(api: httpx.Client, path: str, body: bytes) -> None:
    assert is_problem(api.post(path, content=body, headers={"Content-Type": "application/json"}), 400)


def test_a_body_that_is_no_strict_json_is_told_why(api: httpx.Client) -> None:
    answer = api.post(TRAIN, content=b'{"seed": 1, "seed": 2}', headers={"Content-Type": "application/json"})
    assert is_problem(answer, 400, "names a key twice")


def test_without_a_job_the_model_has_to_be_named_and_the_version_has_no_provenance(api: httpx.Client, stored: dict[str, Any]) -> None:
    assert is_problem(api.post(REGISTER, json={name: stored[name] for name in ("artifactUri", "checksum")}), 400, "model")
    registered = api.post(REGISTER, json=stored).json()
    assert (registered["model"], registered["trainingJobId"], registered["provenance"]) == ("elsewhere", None, "no provenance")


def test_nobody_may_write(api: httpx.Client, training: dict[str, Any]) -> None:
    for headers in ({"X-Debug-Token": ""}, {"X-Debug-Token": "a-debug-token-for-testS"}):
        for path in (TRAIN, REGISTER, PROMOTE):
            answer = api.post(path, json=training, headers=headers)
            assert is_problem(answer, 401)
            assert "www-authenticate" in answer.headers


def test_bytes_that_are_others_or_not_there_are_422_and_nothing_is_stored(
    api: httpx.Client, open_settings: Settings, stored: dict[str, Any]
) -> None:
    assert is_problem(api.post(REGISTER, json=stored | {"checksum": "ab" * 32}), 422)
    assert is_problem(api.post(REGISTER, json=stored | {"artifactUri": stored["artifactUri"] + "-gone"}), 422)
    assert api.get(MODELS).json() == []
    assert verifying.verify_history(open_settings).events == 0


def test_a_job_that_has_not_ended_well_or_is_of_another_model_registers_nothing(
    api: httpx.Client, open_settings: Settings, training: dict[str, Any], stored: dict[str, Any]
) -> None:
    queued = api.post(TRAIN, json=training).json()
    asked = {name: stored[name] for name in ("artifactUri", "checksum")}
    assert is_problem(api.post(REGISTER, json=asked | {"trainingJobId": queued["id"]}), 409, "queued")
    job = jobs.run_training(open_settings, UUID(queued["id"]), on_output=lambda _: None)
    assert is_problem(api.post(REGISTER, json=_of(job) | {"model": "snowfall"}), 400, "rainfall")
    assert is_problem(api.post(REGISTER, json=_of(job) | {"checksum": stored["checksum"]}), 422)
    assert api.get(MODELS).json() == []


@pytest.mark.parametrize(
    ("ending", "model"),
    [
        ("rainfall", "rainfall"),
        ("Rain_Fall Model.git", "rain_fall-model"),
        ("team/rainfall/", "rainfall"),
        ("...", "default"),
        ("é", "default"),
        ("x" * 300, "x" * 128),
    ],
)
def test_the_model_is_named_after_the_code_where_nobody_named_it(
    api: httpx.Client, training: dict[str, Any], ending: str, model: str
) -> None:
    code_ref = f"https://git.example.org/{ending.replace(' ', '+')}@{'3f' * 20}"
    answer = api.post(TRAIN, json={"codeRef": code_ref, "containerDigest": CONTAINER})
    assert (answer.status_code, answer.json()["model"]) == (201, model)


def test_without_a_seed_one_is_drawn_and_with_a_key_it_is_the_same_when_asked_again(api: httpx.Client, training: dict[str, Any]) -> None:
    del training["seed"]
    drawn = [api.post(TRAIN, json=training).json() for _ in range(2)]
    assert drawn[0]["seed"] != drawn[1]["seed"]
    kept = [api.post(TRAIN, json=training, headers={"Idempotency-Key": key}) for key in ("a", "a", "b")]
    assert (kept[0].content == kept[1].content, kept[0].json()["seed"] == kept[2].json()["seed"]) == (True, False)
