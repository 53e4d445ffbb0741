"""Jobs as runs of a Prefect deployment, on a real Prefect server: started once, linked, and started again or failed when a run is lost."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from aiinfra_core import database, jobs, prefect_runs, running
from aiinfra_core.domain.training import JobStatus, Lease
from aiinfra_core.errors import Misconfigured, Unavailable
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.registry import leases
from aiinfra_core.running import handing_over
from aiinfra_core.settings import Settings
from tests.simulators.git_repository import repository
from tests.simulators.leased_jobs import check_history, ended, get, queue, told, until
from tests.simulators.scripted_server import unused_url

ROOT = Path(__file__).parents[2]
POOL = "aiinfra-jobs"
CODE = f"https://git.example.org/rainfall@{'3f' * 20}"


@pytest.fixture
def api(prefect_api_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=prefect_api_url, timeout=30) as client:
        yield client


@pytest.fixture
def settings(settings: Settings, prefect_api_url: str, api: httpx.Client) -> Settings:
    """Give settings with a deployment that nobody works on."""
    flow = _made(api.post("/flows/", json={"name": "train"}))
    name = f"waiting-{uuid4().hex[:8]}"
    _made(api.post("/deployments/", json={"name": name, "flow_id": flow["id"], "entrypoint": "flows.train.train"}))
    return settings.model_copy(update={"prefect_deployment": f"train/{name}", "prefect_api_url": prefect_api_url})


def _made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def ask(settings: Settings, seed: int = 1) -> UUID:
    return queue(settings, CODE, seed)[0]


def lease(settings: Settings, job_id: UUID) -> Lease:
    with database.transaction(settings) as tx:
        found = leases.of_job(tx, job_id)
    assert found is not None
    return found


def run_of(settings: Settings, job_id: UUID) -> UUID:
    found = lease(settings, job_id).flow_run_id
    assert found is not None
    return found


def ends(api: httpx.Client, run: UUID, state: str) -> None:
    _made(api.post(f"/flow_runs/{run}/set_state", json={"state": {"type": state, "message": "it was said so"}, "force": True}))


def test_a_job_is_handed_over_once_with_all_the_flow_has_to_know(settings: Settings, api: httpx.Client) -> None:
    job_id = ask(settings)
    first = running.hand_over(settings, job_id)
    assert first is not None
    assert running.hand_over(settings, job_id) == first
    run = _made(api.get(f"/flow_runs/{first}"))
    job = get(settings, job_id)
    assert run["idempotency_key"] == str(job_id)
    assert run["parameters"]["request"]["spec"]["codeRef"] == CODE
    assert (run["parameters"]["request"]["requestedBy"], run["parameters"]["request"]["requestId"]) == ("ada", job.request_id)
    assert (run_of(settings, job_id), lease(settings, job_id).attempts) == (first, 1)
    assert jobs.request_training(settings, job.spec, requested_by="ada", request_id=job.request_id) == job_id
    with database.transaction(settings) as tx:
        assert leases.claim(tx, holder="kim", seconds=60, at=jobs.now()) is None


def test_without_a_deployment_nothing_is_handed_over(settings: Settings) -> None:
    without = settings.model_copy(update={"prefect_deployment": None})
    job_id = ask(settings)
    assert running.hand_over(without, job_id) is None
    running.reconcile(without)
    with database.transaction(settings) as tx:
        assert leases.of_job(tx, job_id) is None


def test_a_job_asked_for_while_prefect_is_down_waits_and_is_handed_over_later(settings: Settings) -> None:
    down = settings.model_copy(update={"prefect_api_url": unused_url()})
    job_id = ask(settings)
    assert running.hand_over(down, job_id) is None
    with pytest.raises(Unavailable, match="prefect server"):
        prefect_runs.start_run(down, get(settings, job_id))
    assert get(settings, job_id).status is JobStatus.QUEUED
    running.reconcile(settings)
    assert lease(settings, job_id).flow_run_id is not None


def test_a_deployment_that_does_not_exist_loses_no_job(settings: Settings) -> None:
    wrong = settings.model_copy(update={"prefect_deployment": "train/nothing"})
    job_id = ask(settings)
    assert running.hand_over(wrong, job_id) is None
    with pytest.raises(Misconfigured, match="train/nothing"):
        running.reconcile(wrong)
    assert get(settings, job_id).status is JobStatus.QUEUED


def test_a_job_whose_runs_are_lost_is_started_again_and_fails_after_the_third(settings: Settings, api: httpx.Client) -> None:
    job_id = ask(settings)
    runs = [running.hand_over(settings, job_id)]
    ends(api, run_of(settings, job_id), "CRASHED")
    running.reconcile(settings)
    runs.append(run_of(settings, job_id))
    with database.transaction(settings) as tx:
        recorded.start(tx, job_id, by="ada", at=jobs.now())
    _made(api.post(f"/flow_runs/{runs[-1]}/set_state", json={"state": {"type": "CANCELLED"}, "force": True}))
    running.reconcile(settings)
    runs.append(run_of(settings, job_id))
    assert (len(set(runs)), lease(settings, job_id).attempts, get(settings, job_id).status) == (3, 3, JobStatus.QUEUED)
    assert api.delete(f"/flow_runs/{runs[-1]}").status_code == 204
    running.reconcile(settings)
    job = get(settings, job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert f"Prefect knows no run {runs[-1]}" in job.error
    running.reconcile(settings)
    assert run_of(settings, job_id) == runs[-1]
    check_history(settings)
    assert told(settings, job_id) == [("requested", "ada"), ("started", "ada"), ("released", "ai-infra"), ("failed", "ai-infra")]


def test_a_job_that_somebody_is_at_work_on_is_not_lost_whatever_prefect_says(settings: Settings, api: httpx.Client) -> None:
    job_id = ask(settings)
    first = running.hand_over(settings, job_id)
    assert first is not None
    ends(api, first, "CRASHED")
    with database.advisory_lock(settings, jobs.lock_of(job_id)):
        running.reconcile(settings)
        assert run_of(settings, job_id) == first
    running.reconcile(settings)
    assert run_of(settings, job_id) != first


def test_a_job_that_nobody_works_on_is_lost_though_prefect_shows_its_run_as_running(
    settings: Settings, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ask(settings)
    first = running.hand_over(settings, job_id)
    assert first is not None
    ends(api, first, "RUNNING")
    with database.transaction(settings) as tx:
        recorded.start(tx, job_id, by="ada", at=jobs.now())
    running.reconcile(settings)
    assert run_of(settings, job_id) == first, "it has not been silent for long"
    monkeypatch.setattr(handing_over, "SILENT_SECONDS", 0.0)
    running.reconcile(settings)
    assert run_of(settings, job_id) != first
    assert get(settings, job_id).status is JobStatus.QUEUED


_ONCE_SLOW = """
import sys, time
from pathlib import Path
at = dict(zip(sys.argv[1::2], sys.argv[2::2]))
seen = Path({seen!r})
if not seen.exists():
    seen.write_text("begun")
    time.sleep(600)
Path(at["--output"], "model.json").write_text("model")
Path(at["--metrics"]).write_text('{{"quality": 0.9}}')
"""


@pytest.fixture
def worked_on(
    settings: Settings, environment: dict[str, str], prefect_api_url: str, tmp_path: Path
) -> Iterator[tuple[Settings, Callable[[], str]]]:
    """Deploy the training flow and run a worker for it; give the settings, and what the worker says."""
    more = {"PREFECT_API_URL": prefect_api_url, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = environment | more | {"PATH": path, "HOME": str(tmp_path), "DO_NOT_TRACK": "1", "PYTHONPATH": str(ROOT)}

    def prefect(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "prefect", *arguments], cwd=ROOT, env=own, capture_output=True, text=True, timeout=100, check=True
        )

    prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
    prefect("--no-prompt", "deploy", "flows.train.train", "--name", "jobs", "--pool", POOL)
    log = tmp_path / "worker.log"
    with log.open("wb") as said:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
        worker = subprocess.Popen(command, cwd=tmp_path, env=own, stdout=said, stderr=said)
        try:
            yield settings.model_copy(update={"prefect_deployment": "train/jobs"}), log.read_text
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(timeout=30)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_flow_run_killed_in_the_middle_is_found_and_the_job_is_done_by_another(
    worked_on: tuple[Settings, Callable[[], str]], tmp_path: Path
) -> None:
    settings, said = worked_on
    seen = tmp_path / "seen"
    (job_id,) = queue(settings, repository(tmp_path / "slow", {"train.py": _ONCE_SLOW.format(seen=str(seen))}), 1)
    first = running.hand_over(settings, job_id)
    assert first is not None
    until(seen.exists, 90)
    (process,) = _processes_of(first)
    os.kill(process, signal.SIGKILL)
    stop = threading.Event()
    runner = threading.Thread(target=running.run, args=(settings, stop))
    runner.start()
    try:
        until(lambda: ended(settings, job_id), 120)
    finally:
        stop.set()
        runner.join(30)
    assert get(settings, job_id).status is JobStatus.COMPLETED, said()
    assert (run_of(settings, job_id) != first, lease(settings, job_id).attempts) == (True, 2)
    check_history(settings)
    assert [what for what, _ in told(settings, job_id)] == ["requested", "started", "released", "started", "completed"]


def _processes_of(run: UUID) -> list[int]:
    """Return the processes that run a flow run, without the training they started."""
    found = []
    for about in Path("/proc").glob("[0-9]*"):
        try:
            named = f"PREFECT__FLOW_RUN_ID={run}".encode() in (about / "environ").read_bytes()
        except OSError:
            continue
        if named:
            found.append(int(about.name))
    return found
