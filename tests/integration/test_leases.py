"""Jobs under leases: claimed once, kept alive, given back, taken back when nobody is heard of, and never completed by who lost them."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, select, text

from aiinfra_core import database, jobs, registering, verifying
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.errors import Conflict, Forbidden, NotFound
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.registry import leases
from aiinfra_core.registry.leases import Claimed
from aiinfra_core.running import executors
from aiinfra_core.running import work as at_work
from aiinfra_core.running.runner import name
from aiinfra_core.settings import Settings
from aiinfra_core.tables import evaluations, job_leases, model_artifacts, training_jobs
from aiinfra_core.wire.executing import ClaimJob
from tests import factories
from tests.simulators.git_repository import repository
from tests.simulators.leased_jobs import (
    LIMIT,
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


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": 5.0, "drain_seconds": 0.2})


@pytest.fixture
def code_ref(tmp_path: Path) -> str:
    return factories.make_training_repository(tmp_path / "code")


def test_the_oldest_job_is_claimed_first_and_nobody_else_gets_it(settings: Settings, code_ref: str) -> None:
    first, second = queue(settings, code_ref, 1, 2)
    assert [claimed(settings).job.id, claimed(settings).job.id] == [first, second]
    assert claim(settings) is None
    assert get(settings, first).status is JobStatus.RUNNING


def test_only_jobs_of_the_named_models_are_claimed(settings: Settings, code_ref: str) -> None:
    queue(settings, code_ref, 1)
    (snow,) = queue(settings, code_ref, 2, model="snow")
    found = claim(settings, models=("snow", "hail"))
    assert found is not None
    assert found.job.id == snow
    assert claim(settings, models=("hail",)) is None


def test_a_locked_job_is_passed_over_and_not_waited_for(settings: Settings, code_ref: str) -> None:
    first, second = queue(settings, code_ref, 1, 2)
    with database.transaction(settings) as tx:
        recorded.lock(tx, first)
        assert claimed(settings).job.id == second


def test_of_many_who_claim_at_once_each_gets_another_job(settings: Settings, code_ref: str) -> None:
    asked = queue(settings, code_ref, *range(10))
    with ThreadPoolExecutor(16) as pool:
        found = [one for one in pool.map(lambda _: claim(settings), range(16)) if one is not None]
    assert Counter(one.job.id for one in found) == Counter(asked)


def test_the_token_is_kept_only_as_a_digest(settings: Settings, code_ref: str) -> None:
    queue(settings, code_ref, 1)
    found = claimed(settings)
    with database.transaction(settings) as tx:
        (kept,) = tx.execute(select(job_leases.c.token_digest)).scalars()
    assert kept == sha256_hex(found.token.encode())
    assert len(found.token) == 43


def test_a_heartbeat_pushes_the_end_on(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    found = claimed(settings)
    with database.transaction(settings) as tx:
        pushed = leases.heartbeat(tx, job_id, found.token, by="kim", seconds=300, at=jobs.now())
    assert 200 < (pushed.expires_at - found.expires_at).total_seconds() < 300


@pytest.mark.parametrize("use", ["heartbeat", "release", "fence", "give_up"])
def test_a_wrong_token_is_a_conflict_and_somebody_elses_is_forbidden(settings: Settings, code_ref: str, use: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    token = claimed(settings).token
    for given, by, error in (("x" * 43, "kim", Conflict), (token, "eve", Forbidden)):
        with pytest.raises(error), database.transaction(settings) as tx:
            _use(use, tx, job_id, given, by)
    assert get(settings, job_id).status is JobStatus.RUNNING


def _use(use: str, tx: Connection, job_id: UUID, token: str, by: str) -> None:
    if use == "heartbeat":
        leases.heartbeat(tx, job_id, token, by=by, seconds=60, at=jobs.now())
    elif use == "release":
        leases.release(tx, job_id, token, by=by, at=jobs.now())
    elif use == "fence":
        leases.fence(tx, job_id, token=token, by=by)
    else:
        leases.give_up(tx, job_id, token, "it is broken", by=by, limit=LIMIT, at=jobs.now())


def test_a_lease_on_a_job_that_does_not_exist_is_not_found(settings: Settings) -> None:
    nobody = UUID(int=7)
    with pytest.raises(NotFound), database.transaction(settings) as tx:
        leases.heartbeat(tx, nobody, "x" * 43, by="kim", seconds=60, at=jobs.now())


def test_a_job_that_is_given_back_waits_again_and_was_not_lost(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    for _ in range(LIMIT + 2):
        token = claimed(settings).token
        with database.transaction(settings) as tx:
            job = leases.release(tx, job_id, token, by="kim", at=jobs.now())
    assert (job.status, job.started_at) == (JobStatus.QUEUED, None)
    check_history(settings)
    assert told(settings, job_id)[:3] == [("requested", "ada"), ("started", "kim"), ("released", "kim")]


def test_an_expired_lease_goes_back_and_the_third_time_the_job_fails(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    for attempt in range(1, LIMIT + 1):
        assert claimed(settings).attempts == attempt
        assert take_back(settings, job_id).status is JobStatus.RUNNING, "it has not expired yet"
        let_expire(settings, job_id)
        with database.transaction(settings) as tx:
            assert leases.expired(tx) == [job_id]
        job = take_back(settings, job_id)
        assert job.status is (JobStatus.FAILED if attempt == LIMIT else JobStatus.QUEUED)
    assert job.error is not None
    assert "begun 3 times" in job.error
    assert "kim was not heard of in time" in job.error
    check_history(settings)
    assert told(settings, job_id)[-1] == ("failed", "ai-infra")
    assert ("released", "ai-infra") in told(settings, job_id)


def test_a_job_that_nobody_leased_cannot_expire(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    with database.transaction(settings) as tx:
        recorded.start(tx, job_id, by="flow", at=jobs.now())
        assert leases.expired(tx) == []
    assert take_back(settings, job_id).status is JobStatus.RUNNING
    assert claim(settings) is None


def test_who_lost_the_lease_changes_nothing_any_more(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    slow = claimed(settings, "slow")
    run = jobs.carry_out(settings, slow.job, on_output=lambda _: None)
    let_expire(settings, job_id)
    take_back(settings, job_id)
    quick = claimed(settings, "slow")
    with pytest.raises(Conflict):
        jobs.record_run(settings, slow.job, run, by="slow", token=slow.token)
    with pytest.raises(Conflict):
        jobs.record_failure(settings, slow.job, "broken", by="slow", token=slow.token)
    assert get(settings, job_id).status is JobStatus.RUNNING
    assert jobs.record_run(settings, quick.job, run, by="slow", token=quick.token).status is JobStatus.COMPLETED
    check_history(settings)


def test_who_comes_late_but_before_anybody_took_the_job_back_has_still_done_it(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    late = claimed(settings)
    run = jobs.carry_out(settings, late.job, on_output=lambda _: None)
    let_expire(settings, job_id)
    assert jobs.record_run(settings, late.job, run, by="kim", token=late.token).status is JobStatus.COMPLETED


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


_ENDLESS = """
import os, time
from pathlib import Path
Path("../output/begun").write_text(str(os.getpid()))
time.sleep(600)
"""


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


def test_only_the_run_that_is_to_do_a_job_can_lose_it(settings: Settings, code_ref: str) -> None:
    (job_id,) = queue(settings, code_ref, 1)
    first, second = UUID(int=1), UUID(int=2)
    with database.transaction(settings) as tx:
        for run in (first, second, second):
            leases.link(tx, job_id, run, at=jobs.now())
        lease = leases.of_job(tx, job_id)
        assert lease is not None
        assert (lease.flow_run_id, lease.attempts) == (second, 2)
        assert leases.lose_run(tx, job_id, first, "it crashed", limit=1, at=jobs.now()).status is JobStatus.QUEUED
        assert leases.lose_run(tx, job_id, second, "it crashed", limit=1, at=jobs.now()).status is JobStatus.FAILED


def test_the_claim_reads_no_more_than_it_needs(settings: Settings, code_ref: str) -> None:
    queue(settings, code_ref, 1)
    with database.transaction(settings) as tx:
        tx.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(
            tx.execute(
                text("EXPLAIN SELECT id FROM training_jobs WHERE status = 'queued' ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED")
            ).scalars()
        )
    assert "training_jobs_by_status" in plan
    with database.transaction(settings) as tx:
        assert tx.execute(select(training_jobs.c.status)).scalars().all() == ["queued"]
