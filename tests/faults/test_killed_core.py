"""A process killed at any call to the database, then run again: same rows, one artifact, one event each."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from aiinfra_core import database, verifying
from aiinfra_core.settings import Settings
from aiinfra_core.tables import audit_events, metadata, model_artifacts, model_promotions

Run = Callable[[int], dict[str, Any]]

EXPECTED_EVENTS = Counter(
    {
        "artifact.registered": 1,
        "promotion.requested": 3,
        "policy.decision": 3,
        "evaluation.recorded": 1,
        "promotion.approved": 2,
        "promotion.applied": 2,
        "promotion.rejected": 1,
    }
)


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("killed_at.py"))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def run(runner: subprocess.Popen[str], settings: Settings) -> Run:
    """Give a function that runs the story in a process of its own until its n-th call to the database."""
    assert settings.database_url is not None
    assert settings.signer_key_b64 is not None
    environment = {
        "AI_INFRA_DATABASE_URL": settings.database_url.get_secret_value(),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": "test",
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_HOME": str(settings.home),
    }
    settings.home.mkdir()
    (settings.home / "model.bin").write_bytes(b"weights")

    def run_until(at: int) -> dict[str, Any]:
        assert runner.stdin is not None
        assert runner.stdout is not None
        runner.stdin.write(json.dumps({"at": at, "environment": environment}) + "\n")
        runner.stdin.flush()
        return dict(json.loads(runner.stdout.readline()))

    return run_until


def _check_done_once(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        events = Counter(tx.execute(select(audit_events.c.event_type)).scalars())
        rows = {name: len(tx.execute(select(table)).all()) for name, table in metadata.tables.items() if name != "audit_events"}
        statuses = Counter(tx.execute(select(model_promotions.c.status)).scalars())
        assert tx.execute(select(model_artifacts.c.version)).scalars().all() == [1]
    assert events == EXPECTED_EVENTS
    assert statuses == {"applied": 2, "rejected": 1}
    # One registration, one evaluation and two manifests are signed; the refused claim is not.
    assert (rows["attestations"], rows["evaluations"], rows["models"], rows["environment_pointers"]) == (4, 1, 1, 2)
    assert (rows["request_ids"], rows["audit_outbox"]) == (4, 0)
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


def _kill_and_run_again(settings: Settings, run: Run, at: int) -> None:
    killed = run(at)
    assert killed["signal"] == 9, f"the story makes fewer than {at} calls; lower CALLS"
    again = run(0)
    assert again["exit"] == 0
    _check_done_once(settings)


# How many calls to the database the story makes at the most; the first test says when this is out of date.
CALLS = 180
SAMPLE = (5, 23, 47, 70, 95, 120, 145, 168)


def test_an_undisturbed_run_does_everything_once_and_the_kills_reach_all_of_it(settings: Settings, run: Run) -> None:
    done = run(0)
    assert done["exit"] == 0
    _check_done_once(settings)
    assert CALLS - 10 <= done["calls"] <= CALLS


@pytest.mark.parametrize("at", SAMPLE)
def test_a_kill_and_a_rerun_leave_what_an_undisturbed_run_leaves(settings: Settings, run: Run, at: int) -> None:
    _kill_and_run_again(settings, run, at)


@pytest.mark.slow
@pytest.mark.parametrize("at", [at for at in range(1, CALLS - 9) if at not in SAMPLE])
def test_a_kill_anywhere_and_a_rerun_leave_what_an_undisturbed_run_leaves(settings: Settings, run: Run, at: int) -> None:
    _kill_and_run_again(settings, run, at)
