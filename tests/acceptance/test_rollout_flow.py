"""The flow that drives rollouts, and what a person sees of it: one round as it is scheduled, round after round on a laptop."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import State

from aiinfra_core import database
from aiinfra_core.domain.rollout import Rollout
from aiinfra_core.registry import rollouts
from aiinfra_core.settings import Settings
from flows.rollout import rollout as rollout_flow
from tests.simulators.open_rollouts import LIKE_IT, SPEC, WORSE, begun, now, observe, pointer_of

EVERY_SECOND = SPEC.model_copy(update={"look_seconds": 1.0})


def _wait_until_due(settings: Settings) -> None:
    with database.autocommit(settings) as connection:
        due = rollouts.next_due(connection)
    assert due is not None
    time.sleep(max(0.0, due.timestamp() - time.time()))


def _announced(api: str, rollout: Rollout) -> list[str]:
    """Return what the server was told about a rollout, once it is there: Prefect tells it in the background."""
    wanted = {"filter": {"event": {"prefix": ["aiinfra.rollout."]}}, "limit": 50}
    for _ in range(100):
        found: list[dict[str, Any]] = httpx.post(f"{api}/events/filter", json=wanted).json()["events"]
        if mine := [one["event"] for one in found if one["resource"]["prefect.resource.id"] == f"aiinfra.rollout.{rollout.id}"]:
            return mine
        time.sleep(0.2)
    return []


def test_a_round_looks_once_at_each_rollout_and_says_what_each_look_said(settings: Settings, prefect_api: str) -> None:
    rollout, unheard = begun(settings, EVERY_SECOND), begun(settings, EVERY_SECOND, "snow")
    observe(settings, rollout, WORSE)
    _wait_until_due(settings)
    time.sleep(0.2)
    state: State[Any] = rollout_flow(return_state=True)
    outcome = state.result()
    said = {one.model: one for one in outcome.looks}
    assert (said["rainfall"].verdict, said["rainfall"].status, said["snow"].verdict) == ("rollback", "rolled_back", "hold")
    assert "rainfall in prod, look 1: rollback, rolled back at 0 %: " in str(outcome)
    looked_at = now(settings, unheard).looked_at
    assert looked_at is not None
    assert outcome.next_due == looked_at + timedelta(seconds=0.9)
    assert pointer_of(settings, rollout).rollout_id is None
    assert _announced(prefect_api, rollout) == ["aiinfra.rollout.rolled_back"]


@pytest.mark.usefixtures("prefect_api")
def test_a_round_without_rollouts_says_so(settings: Settings) -> None:
    assert str(rollout_flow()) == "no rollout is open"
    begun(settings)
    assert str(rollout_flow()) == "no rollout is due"


@pytest.mark.slow
def test_on_a_laptop_the_flow_looks_on_until_no_rollout_is_open(
    settings: Settings, environment: dict[str, str], prefect_home: Path, tmp_path: Path
) -> None:
    rollout = begun(settings, EVERY_SECOND)
    observe(settings, rollout, LIKE_IT[0])
    configured = environment | {"AI_INFRA_HOME": str(prefect_home), "PATH": os.environ["PATH"], "HOME": str(tmp_path), "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "flows.rollout"]
    with subprocess.Popen(command, cwd=tmp_path, env=configured, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 60
        while now(settings, rollout).step == 0 and time.monotonic() < end:
            time.sleep(0.1)
        observe(settings, now(settings, rollout), LIKE_IT[1])
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert all("rainfall in prod, look " in line or line == "no rollout is due" for line in lines), out
    assert "INFO" not in err
    assert "look 1: advance, running at 50 %" in lines[0]
    assert "advance, completed at 100 %" in lines[-1]
    assert now(settings, rollout).status == "completed"
