"""Who runs a job: the runner, a terminal beside it, and what the next one does with what the last one left."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import select

from aiinfra_core import database, jobs, registering, verifying
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.errors import Conflict
from aiinfra_core.registry import leases
from aiinfra_core.registry.leases import Claimed
from aiinfra_core.running import executors
from aiinfra_core.running import work as at_work
from aiinfra_core.running.runner import name
from aiinfra_core.settings import Settings
from aiinfra_core.tables import evaluations, model_artifacts
from aiinfra_core.wire.executing import ClaimJob
from aiinfra_core.work_tables import job_leases
from tests import factories
from tests.simulators.git_repository import repository
from tests.simulators.leased_jobs import (
    check_history,
    claim,
    claimed,
    ended,
    get,
    let_expire,
    no_lease_left,
    queue,
    runner,
    take_back,
    told,
    until,
)

_ENDLESS = """
import os, time
from pathlib import Path
Path("../output/begun").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": 5.0, "drain_seconds": 0.2})


def test_a_terminal_waits_for_the_runner_that_has_the_job_and_gets_what_it_made(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    theirs = claimed(settings)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(jobs.run_training, settings, job_id, on_output=lambda _: None)
        with pytest.raises(TimeoutError):
            waiting.result(0.7)
        run = jobs.carry_out(settings, theirs.job, on_output=lambda _: None)
        jobs.record_run(settings, theirs.job, run, by="kim", token=theirs.token)
        assert waiting.result(20).status is JobStatus.COMPLETED
    assert [who for what, who in told(settings, job_id) if what == "completed"] == ["kim"]


def test_a_terminal_takes_up_a_job_whose_runner_is_gone(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    claimed(settings)
    let_expire(settings, job_id)
    assert jobs.run_training(settings, job_id, on_output=lambda _: None).status is JobStatus.COMPLETED
    check_history(settings)
    assert [what for what, _ in told(settings, job_id)] == ["requested", "started", "released", "started", "completed"]


def test_a_training_asked_for_and_run_at_a_terminal_is_never_open_to_a_runner(
    settings: Settings, code_ref: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = jobs.run_training
    seen: list[Claimed | None] = []

    def look(*arguments: object, **named: object) -> TrainingJob:
        seen.append(claim(settings))
        return before(*arguments, **named)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(jobs, "run_training", look)
    spec = factories.training_spec(code_ref)
    assert jobs.train(settings, spec, requested_by="ada", on_output=lambda _: None).status is JobStatus.COMPLETED
    assert seen == [None]


def test_what_a_runner_completed_and_did_not_register_is_registered_by_the_next(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    dead = claimed(settings)
    run = jobs.carry_out(settings, dead.job, on_output=lambda _: None)
    jobs.record_run(settings, dead.job, run, by="kim", token=dead.token)
    let_expire(settings, job_id)
    assert take_back(settings, job_id).status is JobStatus.COMPLETED
    with runner(settings):
        until(lambda: no_lease_left(settings))
    with database.transaction(settings) as tx:
        columns = model_artifacts.c.training_job_id, model_artifacts.c.version, model_artifacts.c.registered_by
        assert tx.execute(select(*columns)).all() == [(job_id, 1, "kim")], "kim completed it, whoever registers it"
    check_history(settings)


def test_what_one_job_made_is_registered_once_whoever_asks_for_it_again(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    with runner(settings):
        until(lambda: ended(settings, job_id) and no_lease_left(settings))
    asked = registering.registration_of(get(settings, job_id))
    kept = registering.register(settings, asked)
    assert (asked.registered_by, kept.registered_by, kept.version) == ("ada", name(), 1)
    for other in ({"metadata": {"note": "another"}}, {"artifact_uri": f"{asked.artifact_uri}.other"}):
        with pytest.raises(Conflict, match="was used before"):
            registering.register(settings, asked.model_copy(update=other))


def test_a_completed_job_that_cannot_be_registered_keeps_nobody_waiting(
    settings: Settings, code_ref: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = queue(settings, code_ref, 1, 2)
    for _ in range(2):
        dead = claimed(settings)
        run = jobs.carry_out(settings, dead.job, on_output=lambda _: None)
        jobs.record_run(settings, dead.job, run, by="kim", token=dead.token)
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as owner:
        owner.execute(sql.SQL("ALTER TABLE model_artifacts ADD CHECK (training_job_id <> {})").format(str(bad)))
    (lost,) = queue(settings, code_ref, 3)
    claimed(settings)
    let_expire(settings, bad, good, lost)
    assert executors.claim(settings, ClaimJob(models=("snow",)), by="kim") is None
    assert get(settings, lost).status is JobStatus.QUEUED, "whoever claims takes back what was lost, and registers nothing"
    with database.transaction(settings) as tx:
        assert tx.execute(select(model_artifacts.c.id)).all() == []
    for _ in range(2):
        at_work.tidy(settings)
        with database.transaction(settings) as tx:
            assert tx.execute(select(model_artifacts.c.training_job_id)).scalars().all() == [good]
            assert leases.expired(tx, JobStatus.COMPLETED) == [], "the bad one is looked at again later"
        let_expire(settings, bad)
    assert [str(bad) in record.getMessage() for record in caplog.records if "is not registered" in record.getMessage()] == [True]
    taken = executors.claim(settings, ClaimJob(), by="kim")
    assert taken is not None
    assert taken.job.id == lost


def test_the_runner_trains_registers_and_keeps_what_was_measured(settings: Settings, code_ref: str) -> None:
    job_id, broken = (*queue(settings, code_ref, 1), *queue(settings, code_ref, 2, entry_point="fail.py"))
    with runner(settings.model_copy(update={"lease_seconds": 600.0})):
        until(lambda: ended(settings, job_id, broken) and no_lease_left(settings))
    done, failed = get(settings, job_id), get(settings, broken)
    assert (done.status, failed.status) == (JobStatus.COMPLETED, JobStatus.FAILED)
    assert (done.artifact_uri or "").endswith(f"/artifacts/{job_id}.model")
    assert "the data has no rows" in (failed.error or "")
    with database.transaction(settings) as tx:
        job, registered_by = tx.execute(select(model_artifacts.c.training_job_id, model_artifacts.c.registered_by)).one()
        assert (job, registered_by) == (job_id, name()), "the runner's doing goes by its own name, not by that of who asked"
        assert tx.execute(select(evaluations.c.kind)).scalars().all() == ["measured"]
    check_history(settings)
    _artifact, steps = verifying.verify_model(settings, "rainfall:1")
    assert [step for step in steps if not step.passed] == []
    assert {who.partition("@")[0] for what, who in told(settings, job_id) if what != "requested"} == {"runner"}


def test_a_runner_told_to_stop_gives_back_what_it_cannot_finish(settings: Settings, tmp_path: Path) -> None:
    ref = repository(tmp_path / "slow", {"train.py": _ENDLESS})
    (job_id,) = queue(settings, ref, 1)
    begun = settings.home / "scratch" / str(job_id) / "run" / "output" / "begun"
    with runner(settings):
        until(lambda: begun.exists() and bool(begun.read_text()))
    assert not Path(f"/proc/{begun.read_text()}").exists(), "the training goes on"
    assert get(settings, job_id).status is JobStatus.QUEUED
    with database.transaction(settings) as tx:
        assert tx.execute(select(job_leases.c.holder, job_leases.c.attempts)).one() == (None, 0)
    check_history(settings)
    assert [what for what, _ in told(settings, job_id)] == ["requested", "started", "released"]


def test_a_training_whose_parts_stay_down_is_tried_again_and_then_fails_with_the_reason(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_work, "TRIES", 2)
    monkeypatch.setattr(at_work, "_FIRST_WAIT", 0.05)
    unreachable = f"https://127.0.0.1:9/nothing@{'0' * 40}"
    (job_id,) = queue(settings, unreachable, 1)
    with runner(settings):
        until(lambda: ended(settings, job_id))
    job = get(settings, job_id)
    assert job.status is JobStatus.FAILED
    assert "could not be reached" in (job.error or "")
    check_history(settings)
    assert [what for what, _ in told(settings, job_id)] == ["requested", *(["started", "released"] * 2), "started", "failed"]
