"""A pipeline killed before or after any of its tasks, then run again: all it leaves is what an undisturbed run leaves."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aiinfra_core import verifying
from aiinfra_core.settings import Settings
from tests import factories
from tests.simulators.own_process import run_until
from tests.simulators.postgres import made_database as made_database
from tests.simulators.whole_state import whole_state

Run = Callable[..., dict[str, Any]]

# Before and after each of the pipeline's tasks; the first run in this module says when this is out of date.
BOUNDARIES = 56
SAMPLE = (6, 25)
WITH_ENGINE = (6, 11, 25, 40)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, prefect_api_url: str) -> Iterator["subprocess.Popen[str]"]:
    folder = tmp_path_factory.mktemp("killed")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": prefect_api_url,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, str(Path(__file__).with_name("killed_flow.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Give what every run in this module is asked for."""
    spec = factories.training_spec(factories.make_training_repository(tmp_path_factory.mktemp("code") / "good"))
    return {"request": {"spec": spec.model_dump(mode="json", by_alias=True), "requestedBy": "ada"}}


@pytest.fixture
def run(runner: "subprocess.Popen[str]", settings: Settings, parameters: dict[str, Any]) -> Run:
    """Give a function that runs the pipeline in a process of its own until its n-th boundary."""
    return lambda at, engine: run_until(runner, settings, at, engine=engine, parameters=parameters)


@pytest.fixture(scope="module")
def undisturbed(
    runner: "subprocess.Popen[str]",
    parameters: dict[str, Any],
    postgres_server: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, list[str]]:
    """Give all that one run leaves which nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with made_database(postgres_server, migrated_template) as url:
        settings = Settings(
            AI_INFRA_DATABASE_URL=url,
            home=folder / "home",
            artifact_root=(folder / "artifacts").as_uri(),
            signer_key_b64="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            signer_id="test",
        )
        done = run_until(runner, settings, 0, engine=False, parameters=parameters)
        assert (done["exit"], done["boundaries"]) == (0, BOUNDARIES)
        return whole_state(settings)


def _kill_and_run_again(settings: Settings, run: Run, undisturbed: dict[str, list[str]], *, at: int, engine: bool) -> None:
    killed = run(at, engine)
    assert (killed["signal"], killed["boundaries"]) == (9, at)
    again = run(0, engine)
    assert again["exit"] == 0
    assert whole_state(settings) == undisturbed
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


@pytest.mark.parametrize("at", SAMPLE)
def test_a_kill_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    settings: Settings, run: Run, undisturbed: dict[str, list[str]], at: int
) -> None:
    _kill_and_run_again(settings, run, undisturbed, at=at, engine=False)


@pytest.mark.slow
@pytest.mark.parametrize("at", [at for at in range(1, BOUNDARIES + 1) if at not in SAMPLE])
def test_a_kill_at_any_task_boundary_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    settings: Settings, run: Run, undisturbed: dict[str, list[str]], at: int
) -> None:
    _kill_and_run_again(settings, run, undisturbed, at=at, engine=False)


@pytest.mark.slow
@pytest.mark.parametrize("at", WITH_ENGINE)
def test_what_prefect_remembers_of_a_killed_run_does_not_matter(
    settings: Settings, run: Run, undisturbed: dict[str, list[str]], prefect_api_url: str, at: int
) -> None:
    before = _left_running(prefect_api_url)
    _kill_and_run_again(settings, run, undisturbed, at=at, engine=True)
    assert len(_left_running(prefect_api_url) - before) >= 1


def _left_running(prefect_api_url: str) -> set[str]:
    running = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}, "limit": 200}
    return {run["id"] for run in httpx.post(f"{prefect_api_url}/flow_runs/filter", json=running).json()}
