"""Runners that are killed, frozen, told to stop, or race for the same jobs: each job is done once, and none is left running."""

import base64
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from urllib.parse import quote
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from psycopg import sql
from sqlalchemy import make_url, select

from aiinfra_core import database
from aiinfra_core.domain.training import JobStatus
from aiinfra_core.settings import Settings
from aiinfra_core.tables import evaluations, model_artifacts, training_jobs
from tests.simulators import kms_proxy
from tests.simulators.git_repository import repository
from tests.simulators.leased_jobs import check_history, ended, get, let_expire, no_lease_left, queue, told, until
from tests.simulators.leased_jobs import runner as in_this_process
from tests.simulators.own_process import run_until
from tests.simulators.scripted_server import Handler, Received

CALLS = 60
"""At least as many calls as a worker makes for one job; a kill that comes after its last one does nothing."""
SAMPLE = (4, 14, 24)
_SLOW = """
import json, os, sys, time
from pathlib import Path
at = dict(zip(sys.argv[1::2], sys.argv[2::2]))
Path(at["--output"], "begun").write_text(str(os.getpid()))
time.sleep({seconds})
"""


@pytest.fixture(scope="module")
def child() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("killed_runner.py"))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@contextmanager
def runner(settings: Settings, home: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `aiinfra runner` in a process of its own; what is left of it at the end is killed."""
    assert settings.database_url is not None
    assert settings.signer_key_b64 is not None
    home.mkdir(exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "AI_INFRA_HOME": str(home),
        "AI_INFRA_DATABASE_URL": settings.database_url.get_secret_value(),
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": str(settings.signer_id),
        "AI_INFRA_LEASE_SECONDS": "2",
        "AI_INFRA_DRAIN_SECONDS": "0.2",
        **more,
    }
    command = [sys.executable, "-c", "import sys; from aiinfra_core.cli.app import main; sys.exit(main())", "runner"]
    with (home / "runner.log").open("wb") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()


def begun(home: Path, job_id: UUID) -> int:
    """Wait until a slow training has begun in this home and return its process."""
    note = home / "scratch" / str(job_id) / "run" / "output" / "begun"
    until(lambda: note.exists() and bool(note.read_text()), 60)
    return int(note.read_text())


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def check_done_once(settings: Settings, *job_ids: UUID) -> None:
    check_history(settings)
    with database.transaction(settings) as tx:
        assert Counter(tx.execute(select(model_artifacts.c.training_job_id)).scalars()) == Counter(job_ids)
        assert sorted(tx.execute(select(model_artifacts.c.version)).scalars()) == [*range(1, len(job_ids) + 1)]
        assert set(tx.execute(select(training_jobs.c.status)).scalars()) == {JobStatus.COMPLETED}
    for job_id in job_ids:
        events = Counter(what for what, _ in told(settings, job_id))
        assert (events["completed"], events["failed"], events["started"]) == (1, 0, 1 + events["released"])


def _kill_and_run_again(child: subprocess.Popen[str], settings: Settings, code_ref: str, at: int) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    killed = run_until(child, settings, at)
    if killed["signal"] == 0:
        assert (killed["exit"], at > 20) == (0, True), "the worker makes more calls than this"
    assert run_until(child, settings, 0)["exit"] == 0
    check_done_once(settings, job_id)
    with database.transaction(settings) as tx:
        assert tx.execute(select(evaluations.c.kind)).scalars().all() == ["measured"]


@pytest.mark.parametrize("at", SAMPLE)
def test_a_runner_killed_at_a_call_to_the_database_is_continued_by_the_next(
    child: subprocess.Popen[str], settings: Settings, code_ref: str, at: int
) -> None:
    _kill_and_run_again(child, settings, code_ref, at)


@pytest.mark.slow
@pytest.mark.parametrize("at", [at for at in range(1, CALLS) if at not in SAMPLE])
def test_a_runner_killed_at_any_call_to_the_database_is_continued_by_the_next(
    child: subprocess.Popen[str], settings: Settings, code_ref: str, at: int
) -> None:
    _kill_and_run_again(child, settings, code_ref, at)


@pytest.mark.slow
def test_a_runner_killed_in_the_middle_of_a_training_leaves_no_process_and_the_next_one_does_it(settings: Settings, tmp_path: Path) -> None:
    (job_id,) = queue(settings, repository(tmp_path / "slow", {"train.py": _SLOW.format(seconds=3)}), 1)
    home = tmp_path / "first"
    with runner(settings, home) as first:
        training = begun(home, job_id)
        first.kill()
        until(lambda: gone(training), 10)
        assert get(settings, job_id).status is JobStatus.RUNNING
        with runner(settings, tmp_path / "second"):
            until(lambda: ended(settings, job_id) and no_lease_left(settings), 60)
    check_done_once(settings, job_id)
    assert [what for what, _ in told(settings, job_id)] == ["requested", "started", "released", "started", "completed"]


def test_a_runner_that_was_thought_dead_completes_nothing_when_it_comes_back(settings: Settings, tmp_path: Path) -> None:
    (job_id,) = queue(settings, repository(tmp_path / "slow", {"train.py": _SLOW.format(seconds=2)}), 1)
    with runner(settings, tmp_path / "first") as first:
        begun(tmp_path / "first", job_id)
        first.send_signal(signal.SIGSTOP)
        let_expire(settings, job_id)
        with runner(settings, tmp_path / "second") as second:
            until(lambda: ended(settings, job_id) and no_lease_left(settings), 60)
            first.send_signal(signal.SIGCONT)
            log = tmp_path / "first" / "runner.log"
            # Whichever it finds out first: that its lease is gone, or that nobody takes what it made.
            until(lambda: b"is not taken" in log.read_bytes() or b": lost after" in log.read_bytes(), 30)
            assert second.pid
    check_done_once(settings, job_id)
    (completed,) = (who for what, who in told(settings, job_id) if what == "completed")
    assert completed.endswith(f":{second.pid}")


def test_a_runner_told_to_stop_gives_the_job_back_and_ends_well(settings: Settings, tmp_path: Path) -> None:
    (job_id,) = queue(settings, repository(tmp_path / "slow", {"train.py": _SLOW.format(seconds=600)}), 1)
    with runner(settings, tmp_path / "home") as process:
        training = begun(tmp_path / "home", job_id)
        process.terminate()
        assert process.wait(30) == 0
    assert gone(training)
    assert get(settings, job_id).status is JobStatus.QUEUED
    assert no_lease_left(settings)
    assert [what for what, _ in told(settings, job_id)] == ["requested", "started", "released"]


@pytest.mark.slow
def test_a_runner_told_to_stop_ends_what_it_can(settings: Settings, tmp_path: Path) -> None:
    (job_id,) = queue(settings, repository(tmp_path / "slow", {"train.py": _SLOW.format(seconds=2)}), 1)
    with runner(settings, tmp_path / "home", AI_INFRA_DRAIN_SECONDS="30") as process:
        begun(tmp_path / "home", job_id)
        process.terminate()
        assert process.wait(60) == 0
    check_done_once(settings, job_id)


def test_a_runner_waits_for_a_signer_that_is_down_and_trains_only_once(settings: Settings, code_ref: str) -> None:
    key, answers = Ed25519PrivateKey.generate(), [0]

    def after_a_while(handler: Handler, received: Received) -> None:
        answers[0] += 1
        if answers[0] <= 4:
            handler.send(503, b"{}")
        else:
            kms_proxy.signs(key)(handler, received)

    public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    with kms_proxy.serve(after_a_while) as proxy:
        uri = f"{proxy.url}?public-key={quote(public, safe='')}&signer-id={quote(kms_proxy.SIGNER_ID, safe='')}"
        waiting = settings.model_copy(update={"artifact_signer_uri": uri})
        (job_id,) = queue(waiting, code_ref, 1)
        with in_this_process(waiting):
            until(lambda: ended(waiting, job_id) and no_lease_left(waiting), 60)
        check_done_once(waiting, job_id)
    assert answers[0] > 4
    assert [what for what, _ in told(settings, job_id)] == ["requested", "started", "completed"]


@pytest.mark.slow
def test_a_runner_waits_for_a_database_that_is_away_and_ends_what_it_began(settings: Settings, tmp_path: Path) -> None:
    (job_id,) = queue(settings, repository(tmp_path / "slow", {"train.py": _SLOW.format(seconds=1)}), 1)
    with in_this_process(settings.model_copy(update={"lease_seconds": 1.0})):
        begun(settings.home, job_id)
        with _away(settings):
            Event().wait(3)
        until(lambda: ended(settings, job_id) and no_lease_left(settings), 60)
    check_done_once(settings, job_id)


@contextmanager
def _away(settings: Settings) -> Iterator[None]:
    """Let nobody into the database while the block runs."""
    assert settings.database_url is not None
    url = make_url(settings.database_url.get_secret_value())
    name, server = str(url.database), url.set(database="postgres").render_as_string(hide_password=False)
    close = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(server, autocommit=True) as administrator:
        administrator.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        try:
            administrator.execute(close, [name])
            yield
        finally:
            administrator.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))


def test_two_runners_that_race_for_twenty_jobs_run_each_of_them_once(settings: Settings, tmp_path: Path) -> None:
    asked = queue(settings, f"/nowhere@{'0' * 40}", *range(20), entry_point=None)
    at_once = {"AI_INFRA_RUNNER_CONCURRENCY": "4", "AI_INFRA_LEASE_SECONDS": "60"}
    with runner(settings, tmp_path / "one", **at_once) as one, runner(settings, tmp_path / "two", **at_once) as two:
        until(lambda: ended(settings, *asked) and no_lease_left(settings), 60)
        by = Counter(who for job_id in asked for what, who in told(settings, job_id) if what == "started")
        assert by.total() == 20
        assert {who.rpartition(":")[2] for who in by} <= {str(one.pid), str(two.pid)}
    check_done_once(settings, *asked)
