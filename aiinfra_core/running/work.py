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
from aiinfra_core.registry import leases
from aiinfra_core.registry.leases import Claimed
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

BEATS_PER_LEASE = 3
TRIES = 5
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
    with kept_alive(settings, job.id, token, by=by) as lost:

        def stopped() -> bool:
            return lost.is_set() or stop_now.is_set()

        try:
            ended = _carried_out(settings, claimed, by, stopped)
            if ended.status is JobStatus.COMPLETED:
                _patiently(lambda: register_completed(settings, ended), stopped)
        except Conflict as error:
            logger.warning("What training job %s made is not taken: %s", job.id, error)
        except _StoppedError:
            if not lost.is_set():
                give_back(settings, job.id, token, by=by)
        except Exception as error:
            logger.exception("Training job %s could not be run to its end.", job.id)
            _give_up(settings, job.id, token, _reason(error), by=by)
    keep_up(settings)


def register_completed(settings: Settings, job: TrainingJob) -> Artifact | None:
    """Register what a completed job made, with how it scored, and end its lease; None where it cannot be registered this way.

    Raises:
        Unavailable: a required part could not be reached; the same call goes on.
    """
    artifact = None
    try:
        artifact = registering.register(settings, registering.registration_of(job))
        evaluating.record_measured(settings, artifact.id)
    except BadInput as error:
        logger.error("What training job %s made is not registered: %s", job.id, error)  # noqa: TRY400 - the message says it all
    with database.transaction(settings) as tx:
        leases.finish(tx, job.id, at=jobs.now())
    return artifact


def tidy(settings: Settings) -> None:
    """Take back the jobs of executors that were not heard of in time, and register what those made who ended before they did.

    Raises:
        Unavailable: the database cannot be reached.
    """
    with database.transaction(settings) as tx:
        late = leases.expired(tx)
    for job_id in late:
        with database.transaction(settings) as tx:
            job = leases.take_back(tx, job_id, limit=settings.training_attempts, at=jobs.now())
        if job.status is not JobStatus.COMPLETED:
            logger.warning("Training job %s was lost by its executor and is %s.", job_id, job.status)
            continue
        try:
            register_completed(settings, job)
        except Unavailable as error:
            logger.warning("What training job %s made waits to be registered: %s", job_id, error)
    if late:
        keep_up(settings)


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
