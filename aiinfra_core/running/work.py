"""One claimed job: its lease kept alive, the training run, its outcome recorded and registered.

A part that is down is waited for. Whoever loses the lease changes nothing any more: each record checks the token in its transaction.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TypeVar
from uuid import UUID

from aiinfra_core import database, evaluating, jobs, registering
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.errors import AiInfraError, BadInput, Conflict, Unavailable
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.registry import leases
from aiinfra_core.registry.leases import Claimed
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

BEATS_PER_LEASE = 3
TRIES = 5
AGAIN_SECONDS = 60.0
_told: dict[UUID, str] = {}  # what this process has said of a job that is in the way, so that it says it once
_FIRST_WAIT, _LONGEST_WAIT, _LOOK = 0.5, 15.0, 0.1


class _StoppedError(Exception):
    """The work was given up because it has to end, or because the lease was lost."""


def work(settings: Settings, claimed: Claimed, *, by: str, stop_now: Event) -> None:
    """Run a claimed job to its end and register what it made; give it back when that cannot be done here.

    Args:
        settings: where code is run and bytes are kept.
        claimed: the job and its lease.
        by: who claimed it.
        stop_now: once it is set, the training is stopped and the job given back.
    """
    job, token = claimed.job, claimed.token
    begun, status = time.monotonic(), "given back"
    with kept_alive(settings, job.id, token, by=by) as lost:

        def stopped() -> bool:
            return lost.is_set() or stop_now.is_set()

        try:
            ended = _carried_out(settings, claimed, by, stopped)
            status = ended.status
            if ended.status is JobStatus.COMPLETED:
                _patiently(lambda: register_completed(settings, ended, by=by), stopped)
        except Conflict as error:
            logger.warning("What training job %s made is not taken: %s", job.id, error)
            status = "not taken"
        except _StoppedError:
            if lost.is_set():
                status = "lost"
            else:
                give_back(settings, job.id, token, by=by)
        except Exception as error:
            logger.exception("Training job %s could not be run to its end.", job.id)
            _give_up(settings, job.id, token, _reason(error), by=by)
    _tell(job, status, time.monotonic() - begun)
    keep_up(settings)


def _tell(job: TrainingJob, status: str, seconds: float) -> None:
    about = {"jobId": str(job.id), "model": job.spec.model, "status": status, "seconds": round(seconds, 3)}
    logger.info("Training job %s of %s: %s after %.1f s.", job.id, job.spec.model, status, seconds, extra=about)


def register_completed(settings: Settings, job: TrainingJob, *, by: str) -> Artifact | None:
    """Register what a completed job made, with how it scored, and end its lease; None where it cannot be registered this way.

    Args:
        settings: where its bytes are kept.
        job: what completed.
        by: who completed it.

    Raises:
        Unavailable: a required part could not be reached; the same call goes on.
    """
    artifact = None
    try:
        artifact = registering.register(settings, registering.registration_of(job, by))
        evaluating.record_measured(settings, artifact.id)
    except BadInput as error:
        logger.error("What training job %s made is not registered: %s", job.id, error)  # noqa: TRY400 - the message says it all
    with database.transaction(settings) as tx:
        leases.finish(tx, job.id, at=jobs.now())
    return artifact


def take_back_late(settings: Settings) -> None:
    """Take back the jobs of executors that were not heard of in time; one that cannot be keeps none of the others waiting.

    Raises:
        Unavailable: the database cannot be reached.
    """
    with database.transaction(settings) as tx:
        late = leases.expired(tx)
    for job_id in late:
        with _one_of_many("Training job %s is not taken back: %s", job_id), database.transaction(settings) as tx:
            job = leases.take_back(tx, job_id, limit=settings.training_attempts, at=jobs.now())
            if job.status is not JobStatus.COMPLETED:
                logger.warning("Training job %s was lost by its executor and is %s.", job_id, job.status)
    if late:
        keep_up(settings)


def tidy(settings: Settings) -> None:
    """Take back the jobs of executors that were not heard of in time, and register what those made who ended before they did.

    Raises:
        Unavailable: the database cannot be reached.
    """
    take_back_late(settings)
    with database.transaction(settings) as tx:
        waiting = leases.expired(tx, JobStatus.COMPLETED)
    for job_id in waiting:
        with _one_of_many("What training job %s made is not registered: %s", job_id) as in_the_way:
            with database.transaction(settings) as tx:
                job, lease = recorded.get(tx, job_id), leases.of_job(tx, job_id)
            if lease is not None and lease.holder is not None:
                register_completed(settings, job, by=lease.holder)
        if in_the_way:
            with database.transaction(settings) as tx:
                leases.put_off(tx, job_id, seconds=AGAIN_SECONDS, at=jobs.now())


@contextmanager
def _one_of_many(what: str, job_id: UUID) -> Iterator[list[str]]:
    """Tell of trouble with one job, once, and go on; give a list that names it afterwards, unless it is only that a part is down."""
    in_the_way: list[str] = []
    try:
        yield in_the_way
    except Unavailable as error:
        if error.part == "database":
            raise
        _tell_once(what, job_id, str(error))
    except AiInfraError as error:
        in_the_way.append(str(error))
        _tell_once(what, job_id, str(error))
    except Exception as error:
        in_the_way.append(type(error).__name__)
        if _is_news(job_id, type(error).__name__):
            logger.exception(what, job_id, type(error).__name__)


def _tell_once(what: str, job_id: UUID, trouble: str) -> None:
    if _is_news(job_id, trouble):
        logger.error(what, job_id, trouble)


def _is_news(job_id: UUID, trouble: str) -> bool:
    news = _told.get(job_id) != trouble
    _told[job_id] = trouble
    return news


def give_back(settings: Settings, job_id: UUID, token: str, *, by: str) -> None:
    """Give a job back that was not run to its end; what cannot be done now happens when the lease ends."""
    try:
        with database.transaction(settings) as tx:
            leases.release(tx, job_id, token, by=by, at=jobs.now())
    except AiInfraError as error:
        logger.warning("Training job %s was not given back: %s", job_id, error)


@contextmanager
def kept_alive(settings: Settings, job_id: UUID, token: str, *, by: str) -> Iterator[Event]:
    """Push a lease's end on while the block runs; give an event that is set when the lease is lost."""
    done, lost = Event(), Event()
    beating = Thread(target=_beat, args=(settings, job_id, token, by, done, lost), name=f"lease {job_id}", daemon=True)
    beating.start()
    try:
        yield lost
    finally:
        done.set()
        beating.join(timeout=settings.lease_seconds)


def _beat(settings: Settings, job_id: UUID, token: str, by: str, done: Event, lost: Event) -> None:
    pause = settings.lease_seconds / BEATS_PER_LEASE
    wait = pause
    while not done.wait(wait):
        wait = pause
        try:
            with database.transaction(settings) as tx:
                leases.heartbeat(tx, job_id, token, by=by, seconds=settings.lease_seconds, at=jobs.now())
        except Unavailable as error:
            logger.warning("The lease on training job %s cannot be pushed on: %s", job_id, error)
            wait = min(pause, _FIRST_WAIT)
        except AiInfraError:
            lost.set()
            return


def _carried_out(settings: Settings, claimed: Claimed, by: str, stopped: Callable[[], bool]) -> TrainingJob:
    job, token = claimed.job, claimed.token
    try:
        run = _patiently(lambda: jobs.carry_out(settings, job, on_output=lambda _: None, stopped=stopped), stopped, tries=TRIES)
    except BadInput as error:
        reason = str(error)
        return _patiently(lambda: jobs.record_failure(settings, job, reason, by=by, token=token), stopped)
    return _patiently(lambda: jobs.record_run(settings, job, run, by=by, token=token), stopped)


def _patiently(call: Callable[[], T], stopped: Callable[[], bool], tries: int | None = None) -> T:
    wait, tried = _FIRST_WAIT, 0
    while True:
        if stopped():
            raise _StoppedError
        try:
            return call()
        except Unavailable as error:
            tried += 1
            if tried == tries and not stopped():
                raise
            logger.warning("Waiting for a part that is down: %s", error)
        _wait(wait, stopped)
        wait = min(2 * wait, _LONGEST_WAIT)


def _wait(seconds: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopped():
        time.sleep(_LOOK)


def _give_up(settings: Settings, job_id: UUID, token: str, reason: str, *, by: str) -> None:
    try:
        with database.transaction(settings) as tx:
            leases.give_up(tx, job_id, token, reason, by=by, limit=settings.training_attempts, at=jobs.now())
    except AiInfraError as error:
        logger.warning("Training job %s was not given back: %s", job_id, error)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") if isinstance(error, AiInfraError) else f"of a {type(error).__name__}"
