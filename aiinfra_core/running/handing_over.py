"""Jobs as runs of the configured Prefect deployment: started, linked, and started again when a run is lost.

A run that ended without ending its job is lost, and so is one that Prefect still shows as running while nobody has worked on the
started job for `SILENT_SECONDS`: whoever works on one holds the job's advisory lock.
"""

import logging
from datetime import timedelta
from uuid import UUID

from aiinfra_core import database, jobs, prefect_runs
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.training import JobStatus, Lease, TrainingJob
from aiinfra_core.errors import Misconfigured, Unavailable
from aiinfra_core.outbound import Patience
from aiinfra_core.prefect_runs import FlowRun
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.registry import leases
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)

SILENT_SECONDS = 120.0
_AT_ONCE = Patience(timeout_seconds=2.0, attempts=1)


def hand_over(settings: Settings, job_id: UUID) -> UUID | None:
    """Start the configured deployment for a queued job and return the run; without a deployment nothing is done.

    When Prefect cannot be reached the job stays queued, and `reconcile` starts it later.

    Raises:
        NotFound: there is no such job.
        Unavailable: the database cannot be reached.
    """
    if settings.prefect_deployment is None:
        return None
    with database.autocommit(settings) as connection:
        job, lease = recorded.get(connection, job_id), leases.of_job(connection, job_id)
    if job.status is not JobStatus.QUEUED or (lease is not None and (lease.flow_run_id or lease.holder)):
        return None if lease is None else lease.flow_run_id
    try:
        return _start(settings, job, 1, _AT_ONCE)
    except Unavailable as error:
        if error.part != prefect_runs.PART:
            raise
        logger.warning("Training job %s waits until Prefect is back: %s", job_id, error)
    except Misconfigured as error:
        logger.error("Training job %s waits: %s", job_id, error)  # noqa: TRY400 - the message says it all
    return None


def reconcile(settings: Settings) -> None:
    """Start the deployment for every job that waits without a run, and again for every job whose run was lost; too often lost, it fails.

    Raises:
        Misconfigured: there is no such deployment.
        Unavailable: the database or Prefect cannot be reached.
    """
    if settings.prefect_deployment is None:
        return
    with database.transaction(settings) as tx:
        linked, waiting = leases.handed_over(tx), leases.not_handed_over(tx)
    known = prefect_runs.runs(settings, [lease.flow_run_id for _, lease in linked if lease.flow_run_id])
    for job, lease in linked:
        _look_after(settings, job, lease, known.get(lease.flow_run_id) if lease.flow_run_id else None)
    for job_id in waiting:
        with database.autocommit(settings) as connection:
            job = recorded.get(connection, job_id)
        _start(settings, job, 1)
    keep_up(settings)


def _look_after(settings: Settings, job: TrainingJob, lease: Lease, run: FlowRun | None) -> None:
    with database.free_advisory_lock(settings, jobs.lock_of(job.id)) as free:
        if free is None:  # somebody is at work on it, whatever Prefect knows
            with database.transaction(settings) as tx:
                leases.seen(tx, job.id, at=jobs.now())
            return
        reason = _lost(job, lease, run)
        if reason is None:
            return
        with database.transaction(settings) as tx:
            job = leases.lose_run(tx, job.id, lease.flow_run_id, reason, limit=settings.training_attempts, at=jobs.now())
    if job.status is JobStatus.QUEUED:
        logger.warning("Training job %s is started again: %s.", job.id, reason)
        _start(settings, job, lease.attempts + 1)


def _lost(job: TrainingJob, lease: Lease, run: FlowRun | None) -> str | None:
    if run is None:
        return f"Prefect knows no run {lease.flow_run_id}"
    if run.ended:
        return f"the Prefect run {run.id} ended as {run.state} ({run.said.rstrip('.')})"
    silent = job.status is JobStatus.RUNNING and jobs.now() - lease.updated_at > timedelta(seconds=SILENT_SECONDS)
    return f"nobody worked on it while the Prefect run {run.id} was {run.state}" if silent else None


def _start(settings: Settings, job: TrainingJob, attempt: int, patience: Patience | None = None) -> UUID:
    flow_run_id = prefect_runs.start_run(settings, job, attempt=attempt, patience=patience)
    with database.transaction(settings) as tx:
        leases.link(tx, job.id, flow_run_id, at=jobs.now())
    return flow_run_id
