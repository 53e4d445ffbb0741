"""Training jobs over HTTP, through real sockets: looking at them, and running them as an executor that is not ours."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select

from aiinfra_core import artifact_store, database, describing, evaluating, jobs, verifying
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.evidence import dsse
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import artifacts, attestations, leases
from aiinfra_core.settings import Settings
from aiinfra_core.tables import evaluations, model_artifacts, training_jobs
from tests.simulators.leased_jobs import check_history, let_expire, queue
from tests.simulators.service import AS_DEBUG, calling

CODE = f"https://git.example.org/rainfall@{'3f' * 20}"
ENVIRONMENT = {"implementation": "CPython", "interpreter": "3.12.1", "platform": "Linux", "packages": ["numpy==2.1.0"]}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "allow_debug_token": True,
            "debug_token": SecretStr(AS_DEBUG["X-Debug-Token"]),
            "prefect_ui_url": "https://prefect.example.org",
        }
    )


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    with calling(settings) as client:
        yield client


def ask(settings: Settings, seed: int = 1, **changes: Any) -> UUID:
    return queue(settings, CODE, seed, **changes)[0]


def claim(api: httpx.Client, **asked: Any) -> dict[str, Any]:
    answer = api.post("/ai-infra/jobs/claim", json=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def made(settings: Settings, tmp_path: Path, data: bytes = b"weights") -> dict[str, Any]:
    """Store a model as an executor would; return what it says of it."""
    file = tmp_path / f"{uuid4().hex}.bin"
    file.write_bytes(data)
    stored = artifact_store.put(artifact_store.location(settings), file, f"elsewhere/{file.name}")
    return {"artifactUri": stored.uri, "checksum": stored.checksum, "metrics": {"quality": 0.93, "rows": 4}}


def end(api: httpx.Client, claimed: dict[str, Any], how: str, **said: Any) -> httpx.Response:
    return api.post(f"/ai-infra/jobs/{claimed['job']['id']}/{how}", json={"leaseToken": claimed["lease"]["token"], **said})


def the_artifact(settings: Settings) -> Artifact:
    with database.transaction(settings) as tx:
        return artifacts.get(tx, tx.execute(select(model_artifacts.c.id)).scalar_one())


def test_an_executor_claims_a_job_says_that_it_lives_and_completes_it(settings: Settings, api: httpx.Client, tmp_path: Path) -> None:
    job_id = ask(settings)
    claimed = claim(api, leaseSeconds=30)
    assert (claimed["job"]["id"], claimed["job"]["status"], claimed["job"]["codeRef"]) == (str(job_id), "running", CODE)
    assert claimed["lease"]["heartbeatSeconds"] == 10
    beat = end(api, claimed, "heartbeat", leaseSeconds=60)
    assert (beat.status_code, beat.json()["heartbeatSeconds"], beat.json()["token"]) == (200, 20, None)
    assert beat.json()["expiresAt"] > claimed["lease"]["expiresAt"]
    model = made(settings, tmp_path)
    answer = end(api, claimed, "complete", **model, environment=ENVIRONMENT, commit="3f" * 20)
    assert answer.status_code == 200, answer.text
    job, artifact = answer.json()["job"], answer.json()["artifact"]
    assert (job["status"], job["checksum"], job["metrics"]) == ("completed", model["checksum"], {"quality": 0.93, "rows": 4.0})
    assert (artifact["trainingJobId"], artifact["model"], artifact["version"]) == (str(job_id), "rainfall", 1)
    assert (artifact["registeredBy"], job["requestedBy"]) == ("debug", "ada"), "whoever completes it says so in their own name"
    with database.transaction(settings) as tx:
        payload = tx.execute(select(audit_events.c.payload).where(audit_events.c.event_type == "artifact.registered")).scalar_one_or_none()
        assert payload is None or json.loads(payload)["actor"] == "debug"
    assert api.get(f"/ai-infra/jobs/{job_id}").json()["holder"] is None
    check_history(settings)
    _artifact, steps = verifying.verify_model(settings, "rainfall:1")
    assert [step for step in steps if not step.passed] == []


def test_what_an_executor_says_is_signed_as_declared_and_its_scores_are_a_claim(
    settings: Settings, api: httpx.Client, tmp_path: Path
) -> None:
    ask(settings)
    end(api, claim(api), "complete", **made(settings, tmp_path), environment=ENVIRONMENT)
    check_history(settings)
    with database.transaction(settings) as tx:
        job = tx.execute(select(training_jobs)).mappings().one()
        provenance = json.loads(dsse.parse(attestations.envelope(tx, job["attestation"])).payload)
        completed = tx.execute(select(audit_events.c.payload).where(audit_events.c.event_type == "training.completed")).scalar_one()
        assert tx.execute(select(evaluations.c.kind, evaluations.c.recorded_by)).all() == [("claimed", "debug")]
    assert provenance["predicate"]["runDetails"]["builder"] == {
        "id": "urn:ai-infra:executor:external",
        "urn:ai-infra:executor:declared-by": "debug",
    }
    assert (json.loads(completed)["actor"], job["requested_by"]) == ("debug", "ada")
    record = artifact_store.read_bytes(artifact_store.location(settings), job["training_record_uri"], job["training_record_sha256"])
    told = json.loads(record)
    assert (told["executor"], told["declaredBy"], told["commit"]) == ("external", "debug", None)
    assert told["environment"].pop("digest") == sha256_hex(json.dumps(ENVIRONMENT, sort_keys=True, separators=(",", ":")).encode())
    assert told["environment"] == ENVIRONMENT


def test_evaluating_it_again_does_not_make_a_claim_a_measurement(settings: Settings, api: httpx.Client, tmp_path: Path) -> None:
    ask(settings)
    end(api, claim(api), "complete", **made(settings, tmp_path))
    evaluation = evaluating.record_measured(settings, the_artifact(settings).id)
    assert evaluation is not None
    assert evaluation.kind == "claimed"


@pytest.mark.parametrize("environment", [None, ENVIRONMENT])
def test_its_bill_of_materials_tells_who_declared_it(
    settings: Settings, api: httpx.Client, tmp_path: Path, environment: dict[str, Any] | None
) -> None:
    ask(settings)
    end(api, claim(api), "complete", **made(settings, tmp_path), environment=environment)
    with database.transaction(settings) as tx:
        known = describing.recorded(tx, artifacts.find(tx, "rainfall:1"))
    bill = json.loads(describing.bill_of_materials(settings, known))
    told = {one["name"].rpartition(":")[2]: one["value"] for one in bill["metadata"]["component"]["properties"]}
    assert (told["executor"], told["declaredBy"]) == ("external", "debug")
    assert any(one["name"] == "numpy" for one in bill.get("components", [])) is (environment is not None)


def test_completing_twice_with_the_same_body_answers_the_same_and_with_another_is_refused(
    settings: Settings, api: httpx.Client, tmp_path: Path
) -> None:
    ask(settings)
    claimed, model = claim(api), made(settings, tmp_path)
    first, second = (end(api, claimed, "complete", **model) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert end(api, claimed, "complete", **model | {"metrics": {"quality": 0.99}}).status_code == 409
    assert end(api, claimed, "complete", **made(settings, tmp_path, b"other")).status_code == 409
    with database.transaction(settings) as tx:
        assert len(tx.execute(select(model_artifacts)).all()) == 1


def test_bytes_that_are_other_ones_or_not_there_or_elsewhere_record_nothing_and_the_lease_stands(
    settings: Settings, api: httpx.Client, tmp_path: Path
) -> None:
    job_id = ask(settings)
    claimed, model = claim(api), made(settings, tmp_path)
    assert end(api, claimed, "complete", **model | {"checksum": "0" * 64}).status_code == 422
    assert end(api, claimed, "complete", **model | {"artifactUri": model["artifactUri"] + ".none"}).status_code == 422
    assert end(api, claimed, "complete", **model | {"artifactUri": "file:///etc/hostname"}).status_code == 400
    assert end(api, claimed, "complete", **model, commit="4a" * 20).status_code == 400
    assert api.get(f"/ai-infra/jobs/{job_id}").json()["status"] == "running"
    assert end(api, claimed, "complete", **model).status_code == 200


def test_a_lease_that_was_lost_completes_nothing(settings: Settings, api: httpx.Client, tmp_path: Path) -> None:
    job_id = ask(settings)
    slow = claim(api)
    let_expire(settings, job_id)
    assert api.post("/ai-infra/jobs/claim", json={"models": ["snow"]}).status_code == 204
    assert api.get(f"/ai-infra/jobs/{job_id}").json()["status"] == "queued", "whoever claims takes back what was lost"
    assert end(api, slow, "release").status_code == 409
    quick = claim(api)
    assert quick["job"]["id"] == str(job_id)
    for how, said in (("heartbeat", {}), ("release", {}), ("fail", {"error": "x"}), ("complete", made(settings, tmp_path))):
        answer = end(api, slow, how, **said)
        assert answer.status_code == 409, how
        assert "not yours any more" in answer.json()["error"]
    assert api.get(f"/ai-infra/jobs/{job_id}").json()["attempts"] == 2
    assert end(api, quick, "complete", **made(settings, tmp_path)).status_code == 200


def test_failing_and_releasing_are_said_once_and_may_be_repeated(settings: Settings, api: httpx.Client) -> None:
    job_id = ask(settings)
    claimed = claim(api)
    assert [end(api, claimed, "release").json()["status"] for _ in range(2)] == ["queued", "queued"]
    assert end(api, claimed, "heartbeat").status_code == 409
    claimed = claim(api)
    for _ in range(2):
        answer = end(api, claimed, "fail", error="The data has no rows.", exitCode=3)
        assert (answer.status_code, answer.json()["status"], answer.json()["exitCode"]) == (200, "failed", 3)
    assert end(api, claimed, "fail", error="Something else.").status_code == 409
    assert api.get(f"/ai-infra/jobs/{job_id}").json()["error"] == "The data has no rows."
    check_history(settings)


def test_nothing_to_claim_is_an_empty_answer(settings: Settings, api: httpx.Client) -> None:
    assert (api.post("/ai-infra/jobs/claim", json={}).status_code, api.post("/ai-infra/jobs/claim", json={}).content) == (204, b"")
    ask(settings)
    assert api.post("/ai-infra/jobs/claim", json={"models": ["snow"]}).status_code == 204


def test_jobs_are_listed_newest_first_in_pages_and_by_what_they_are(settings: Settings, api: httpx.Client) -> None:
    asked = [str(ask(settings, seed)) for seed in range(5)]
    snow = str(ask(settings, 9, model="snow"))
    claim(api, models=["snow"])
    first = api.get("/ai-infra/jobs", params={"limit": 4})
    assert [one["id"] for one in first.json()] == [snow, *asked[:1:-1]]
    second = api.get(first.links["next"]["url"])
    assert [one["id"] for one in second.json()] == [asked[1], asked[0]]
    assert "next" not in second.links
    assert [one["id"] for one in api.get("/ai-infra/jobs", params={"status": "running"}).json()] == [snow]
    assert [one["id"] for one in api.get("/ai-infra/jobs", params={"model": "snow", "codeRef": CODE}).json()] == [snow]
    since = first.json()[0]["createdAt"]
    assert [one["id"] for one in api.get("/ai-infra/jobs", params={"since": since}).json()] == [snow]
    assert [one["id"] for one in api.get("/ai-infra/jobs", params={"until": since}).json()] == asked[::-1]
    assert api.get("/ai-infra/jobs", params={"codeRef": CODE + "0"}).json() == []


@pytest.mark.parametrize("query", ["status=lost", "limit=0", "limit=501", "cursor=nonsense", "since=yesterday", "model=No", "colour=blue"])
def test_a_question_that_makes_no_sense_is_refused(api: httpx.Client, query: str) -> None:
    assert api.get(f"/ai-infra/jobs?{query}").status_code == 400


def test_a_job_says_who_runs_it_and_where_its_prefect_run_is_shown(settings: Settings, api: httpx.Client) -> None:
    leased, linked = ask(settings, 1), ask(settings, 2)
    claim(api)
    run = uuid4()
    with database.transaction(settings) as tx:
        leases.link(tx, linked, run, at=jobs.now())
    one, other = (api.get(f"/ai-infra/jobs/{job_id}").json() for job_id in (leased, linked))
    assert (one["holder"], one["attempts"], one["flowRunId"], one["flowRunUrl"]) == ("debug", 1, None, None)
    assert one["leaseExpiresAt"] is not None
    assert (other["holder"], other["attempts"], other["flowRunId"]) == (None, 1, str(run))
    assert other["flowRunUrl"] == f"https://prefect.example.org/runs/flow-run/{run}"
    assert api.post("/ai-infra/jobs/claim", json={}).status_code == 204, "a job that Prefect is to do is nobody else's"
    assert api.get(f"/ai-infra/jobs/{uuid4()}").status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"leaseToken": "short"}, {"leaseToken": "x" * 43, "metrics": {"quality": True}}, {"leaseToken": "x" * 43, "secret": 1}],
)
def test_a_body_that_is_not_what_is_asked_for_is_refused(settings: Settings, api: httpx.Client, body: dict[str, Any]) -> None:
    job_id = ask(settings)
    assert api.post(f"/ai-infra/jobs/{job_id}/complete", json=body).status_code == 400


def test_nobody_runs_jobs_without_saying_who_they_are(settings: Settings, api: httpx.Client) -> None:
    job_id = ask(settings)
    for place in ("claim", f"{job_id}/heartbeat", f"{job_id}/release", f"{job_id}/fail", f"{job_id}/complete"):
        assert httpx.post(api.base_url.join(f"/ai-infra/jobs/{place}"), json={}).status_code == 401
    assert httpx.get(api.base_url.join("/ai-infra/jobs")).status_code == 401
