"""The steps of a training job: ask for it, run it, keep what it made, record it with a signed provenance.

Running the code is `training`'s business, the moves of the status `registry.jobs`', who may run it now `registry.leases`'. A job that
a flow or a person at a terminal runs has no lease: killed on the way it is `running` and is taken up again by the next call. Two never
run one job at the same time: the second waits and gets what the first made.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import Connection

from aiinfra_core import artifact_store, checksums, database, measurements
from aiinfra_core.artifact_store import Location
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import StoredArtifact
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.training import JobStatus, TrainingJob, TrainingSpec
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Conflict
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import audit_signer, configured_signer
from aiinfra_core.registry import jobs, leases
from aiinfra_core.settings import Settings
from aiinfra_core.training.execute import TrainingRun, execute

ENDED = (JobStatus.COMPLETED, JobStatus.FAILED)
LOOK_AGAIN_SECONDS = 0.5


def train(
    settings: Settings, spec: TrainingSpec, *, requested_by: str, request_id: str | None = None, on_output: Callable[[str], None]
) -> TrainingJob:
    """Ask for a training and run it here; the same spec is trained once, whatever it ended in."""
    with database.transaction(settings) as tx:
        # Started as it is asked for: nobody else claims what may only be reachable from here.
        job_id = _request(tx, spec, requested_by, request_id)
        jobs.start(tx, job_id, by=requested_by, at=now())
    return run_training(settings, job_id, on_output=on_output)


def request_training(settings: Settings, spec: TrainingSpec, *, requested_by: str, request_id: str | None = None) -> UUID:
    """Queue a training and return the job's id; without a request id of its own the request is the digest of the spec.

    Raises:
        Conflict: the request id was used for another spec.
    """
    with database.transaction(settings) as tx:
        return _request(tx, spec, requested_by, request_id)


def run_training(settings: Settings, job_id: UUID, *, on_output: Callable[[str], None], by: str | None = None) -> TrainingJob:
    """Run a job that has not ended and return how it ended; a failed training is an outcome, not an error.

    A job that somebody runs under a lease is waited for; what nobody was heard of any more is run here.

    Args:
        settings: where code is run and bytes are kept.
        job_id: the job.
        on_output: called with each line the training prints.
        by: who runs it; without a name, who asked for it.

    Raises:
        NotFound: there is no such job.
        Unavailable: a required part could not be reached; the job stays `running` and the same call takes it up again.
    """
    with database.advisory_lock(settings, lock_of(job_id)):
        job = _taken_up(settings, job_id, by)
        if job.status not in ENDED:
            job = _run(settings, job, on_output, by or job.requested_by)
    keep_up(settings)
    return job


def lock_of(job_id: UUID) -> int:
    """Return the advisory lock that whoever runs a job without a lease holds."""
    return job_id.int >> 65


def carry_out(
    settings: Settings, job: TrainingJob, *, on_output: Callable[[str], None], stopped: Callable[[], bool] = lambda: False
) -> TrainingRun:
    """Train, without recording anything.

    Raises:
        BadInput: it cannot be what was meant.
        Unavailable: a required part could not be reached, or it was stopped.
    """
    return execute(
        job.spec,
        scratch=settings.home / "scratch" / str(job.id),
        cache=settings.home / "datasets",
        timeout_seconds=settings.training_timeout_seconds,
        on_output=on_output,
        s3_endpoint_url=settings.s3_endpoint_url,
        stopped=stopped,
    )


def record_run(settings: Settings, job: TrainingJob, run: TrainingRun, *, by: str, token: str | None = None) -> TrainingJob:
    """Keep what a training made and record, signed, how it ended; with a lease's token only if that lease still stands.

    Raises:
        Conflict: the lease was lost, or without a token somebody holds one.
        Unavailable: a required part could not be reached; the same call goes on.
    """
    try:
        log_uri = _keep_log(settings, run.log)
        if run.error is not None or run.output is None:
            return record_failure(
                settings, job, run.error or "The training made nothing.", by=by, token=token, exit_code=run.exit_code, log_uri=log_uri
            )
        stored = _keep_output(artifact_store.location(settings), job, run.output)
        completed = completion(settings, job, stored, run.training_record, exit_code=run.exit_code, metrics=run.metrics, log_uri=log_uri)
        statement = attest(claims.of_training(completed), configured_signer(settings, Purpose.ARTIFACT))
    except BadInput as error:
        return record_failure(settings, job, str(error), by=by, token=token)
    return record_completion(settings, completed, statement, by=by, token=token)


def completion(
    settings: Settings,
    job: TrainingJob,
    stored: StoredArtifact,
    training_record: bytes,
    *,
    exit_code: int,
    metrics: dict[str, float] | None,
    log_uri: str | None = None,
) -> TrainingJob:
    """Keep a training's record and return the job as it is to be once it is completed.

    Raises:
        Unavailable: the artifact store cannot be reached.
    """
    return job.model_copy(
        update={
            **stored.model_dump(exclude={"uri"}),
            "artifact_uri": stored.uri,
            "status": JobStatus.COMPLETED,
            "finished_at": now(),
            "exit_code": exit_code,
            "metrics": metrics,
            "training_record_sha256": checksums.sha256_hex(training_record),
            "training_record_uri": artifact_store.put_bytes(artifact_store.location(settings), training_record, "training", ".json"),
            "log_uri": log_uri,
        }
    )


def record_completion(
    settings: Settings, completed: TrainingJob, statement: Attestation, *, by: str, token: str | None = None
) -> TrainingJob:
    """Record what a job made and its signed provenance; with a lease's token only if that lease still stands.

    Raises:
        Conflict: the lease was lost, or without a token somebody holds one.
    """
    audit_signer(settings)  # whoever may not sign the event of a change must not make the change
    with database.transaction(settings) as tx:
        leases.fence(tx, completed.id, token=token, by=by)
        job = jobs.complete(tx, completed, statement, by=by)
    _measure(job)
    return job


def record_failure(
    settings: Settings,
    job: TrainingJob,
    error: str,
    *,
    by: str,
    token: str | None = None,
    exit_code: int | None = None,
    log_uri: str | None = None,
) -> TrainingJob:
    """Record why a job failed; with a lease's token only if that lease still stands, which it ends.

    Raises:
        Conflict: the lease was lost, or without a token somebody holds one.
    """
    with database.transaction(settings) as tx:
        leases.fence(tx, job.id, token=token, by=by)
        at = now()
        failed = jobs.fail(tx, job.id, error=error, exit_code=exit_code, log_uri=log_uri, by=by, at=at)
        if token is not None:
            leases.finish(tx, job.id, at=at)
    _measure(failed)
    return failed


def now() -> datetime:
    """Return this machine's time."""
    return datetime.now(UTC)


def _request(tx: Connection, spec: TrainingSpec, requested_by: str, request_id: str | None) -> UUID:
    return jobs.request(tx, spec, requested_by=requested_by, request_id=request_id or f"train:{spec.digest()}", at=now())


def _taken_up(settings: Settings, job_id: UUID, by: str | None) -> TrainingJob:
    while True:
        with database.transaction(settings) as tx:
            job = leases.take_back(tx, job_id, limit=settings.training_attempts, at=now())
            lease = leases.of_job(tx, job_id)
            if job.status in ENDED or lease is None or lease.holder is None:
                return jobs.start(tx, job_id, by=by or job.requested_by, at=now())
        time.sleep(LOOK_AGAIN_SECONDS)


def _run(settings: Settings, job: TrainingJob, on_output: Callable[[str], None], by: str) -> TrainingJob:
    try:
        run = carry_out(settings, job, on_output=on_output)
    except BadInput as error:
        return record_failure(settings, job, str(error), by=by)
    return record_run(settings, job, run, by=by)


# A training that is not deterministic makes other bytes when it is run again, and what an earlier run left there is never overwritten.
def _keep_output(location: Location, job: TrainingJob, output: Path) -> StoredArtifact:
    try:
        return artifact_store.put(location, output, f"artifacts/{job.id}.model")
    except Conflict:
        return artifact_store.put(location, output, f"artifacts/{job.id}-{uuid4().hex[:8]}.model")


def _keep_log(settings: Settings, log: Path | None) -> str | None:
    if log is None:
        return None
    return artifact_store.put_bytes(artifact_store.location(settings), log.read_bytes(), "logs", ".log")


def _measure(job: TrainingJob) -> None:
    if job.started_at is not None and job.finished_at is not None:
        measurements.training_ended((job.finished_at - job.started_at).total_seconds(), job.status)
