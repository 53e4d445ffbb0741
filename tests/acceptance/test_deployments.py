"""The deployments as an operator uses them: `prefect deploy`, a worker, `prefect deployment run`, with real processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from aiinfra_core import verifying
from aiinfra_core.settings import Settings
from tests import factories

ROOT = Path(__file__).parents[2]
POOL = "aiinfra"
VERBS = ("train", "register", "evaluate", "reproduce", "promote", "rollback", "pipeline", "verify", "settle", "rollout", "deliver")
FORMS: dict[str, set[str]] = {"settle": set(), "rollout": set(), "verify": {"artifact", "incremental"}, "deliver": {"at_once"}}
Prefect = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.slow


@pytest.fixture
def operator_environment(environment: dict[str, str], prefect_api_url: str, tmp_path: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    prefect = {"PREFECT_API_URL": prefect_api_url, "PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    return environment | prefect | {"PATH": path, "HOME": str(tmp_path), "DO_NOT_TRACK": "1"}


@pytest.fixture
def prefect(operator_environment: dict[str, str]) -> Prefect:
    """Give a function that runs the `prefect` command at the root of the repository."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "prefect", *arguments]
        return subprocess.run(command, cwd=ROOT, env=operator_environment, capture_output=True, text=True, timeout=100, check=True)

    return run


@pytest.fixture
def deployed(prefect: Prefect) -> None:
    """Deploy every flow as the head of the file says."""
    prefect("work-pool", "create", POOL, "--type", "process", "--overwrite")
    prefect("--no-prompt", "deploy", "--all", "--prefect-file", "deployments/prefect.yaml")


@pytest.fixture
def worker(deployed: None, operator_environment: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """Run a worker that knows the settings; give its log."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=operator_environment, stdout=log, stderr=log)
        try:
            yield tmp_path / "worker.log"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def test_every_flow_is_deployed_with_a_form_and_without_a_path_of_this_machine(deployed: None, prefect_api_url: str) -> None:
    deployments = httpx.post(f"{prefect_api_url}/deployments/filter", json={}).json()
    assert {one["name"]: one["entrypoint"] for one in deployments} == {verb: f"flows.{verb}.{verb}" for verb in VERBS}
    for one in deployments:
        assert (one["pull_steps"], one["path"], one["work_pool_name"]) == ([], None, POOL)
        assert set(one["parameter_openapi_schema"]["properties"]) == FORMS.get(one["name"], {"request"})
        assert str(ROOT) not in json.dumps(one)
    schedules = {one["name"]: schedule["active"] for one in deployments for schedule in one["schedules"]}
    assert schedules == {"verify": True, "settle": False, "deliver": False, "rollout": True}


def test_a_deployment_run_goes_through_a_worker_to_the_end(
    prefect: Prefect, worker: Path, prefect_api_url: str, settings: Settings, code_ref: str
) -> None:
    request = {"spec": factories.training_spec(code_ref).model_dump(mode="json", by_alias=True), "requestedBy": "ada"}
    parameter = f"request={json.dumps(request)}"
    prefect("deployment", "run", "pipeline/pipeline", "--param", parameter, "--watch", "--watch-timeout", "90")
    runs = httpx.post(f"{prefect_api_url}/flow_runs/filter", json={"deployments": {"name": {"any_": ["pipeline"]}}}).json()
    assert [(run["state_name"], run["name"]) for run in runs] == [("Completed", "rainfall to staging, prod")], worker.read_text()
    artifact, steps = verifying.verify_model(settings, "rainfall@prod")
    assert (artifact.version, [step for step in steps if not step.passed]) == (1, [])
