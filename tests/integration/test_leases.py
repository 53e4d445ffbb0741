"""Jobs under leases: claimed once, kept alive, given back, taken back when nobody is heard of, and never completed by who lost them."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, text

from aiinfra_core import database, jobs
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.training import JobStatus
from aiinfra_core.errors import Conflict, Forbidden, NotFound
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.registry import leases
from aiinfra_core.settings import Settings
from aiinfra_core.tables import training_jobs
from aiinfra_core.work_tables import job_leases
from tests.simulators.leased_jobs import (
    LIMIT,
    check_history,
    claim,
    claimed,
    get,
    let_expire,
    queue,
    take_back,
    told,
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": 5.0, "drain_seconds": 0.2})


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
