"""The steps of a training job: ask for it, run it, keep what it made, record it with a signed provenance.

Running the code is `training`'s business, the moves of the status `registry.jobs`'. A job that was killed on the way is
`running` and is taken up again by the next call; two callers never run one job at the same time.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from aiinfra_core import artifact_store, checksums, database
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.training import JobStatus, TrainingJob, TrainingSpec
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import configured_signer
from aiinfra_core.registry import jobs
from aiinfra_core.settings import Settings
from aiinfra_core.training.execute import TrainingRun, execute

ENDED = (JobStatus.COMPLETED, JobStatus.FAILED)


def train(
    settings: Settings, spec: TrainingSpec, *, requested_by: str, request_id: str | None = None, on_output: Callable[[str], None]
) -> TrainingJob:
    """Ask for a training and run it; the same spec is trained once, whatever it ended in."""
    return run_training(settings, request_training(settings, spec, requested_by=requested_by, request_id=request_id), on_output=on_output)


def request_training(settings: Settings, spec: TrainingSpec, *, requested_by: str, request_id: str | None = None) -> UUID:
    """Queue a training and return the job's id; without a request id of its own the request is the digest of the spec.

    Raises:
        Conflict: the request id was used for another spec.
    """
    with database.transaction(settings) as tx:
        name = request_id or f"train:{spec.digest()}"
        return jobs.request(tx, spec, requested_by=requested_by, request_id=name, at=_now())


def run_training(settings: Settings, job_id: UUID, *, on_output: Callable[[str], None]) -> TrainingJob:
    """Run a job that has not ended and return how it ended; a failed training is an outcome, not an error.

    Args:
        settings: where code is run and bytes are kept.
        job_id: the job.
        on_output: called with each line the training prints.

    Raises:
        NotFound: there is no such job.
        Unavailable: a required part could not be reached; the job stays `running` and the same call takes it up again.
    """
    with database.advisory_lock(settings, job_id.int >> 65):
        with database.transaction(settings) as tx:
            job = jobs.start(tx, job_id, at=_now())
        if job.status not in ENDED:
            job = _run(settings, job, on_output)
    keep_up(settings)
    return job


def _run(settings: Settings, job: TrainingJob, on_output: Callable[[str], None]) -> TrainingJob:
    scratch = settings.home / "scratch" / str(job.id)
    try:
        run = execute(
            job.spec,
            scratch=scratch,
            cache=settings.home / "datasets",
            timeout_seconds=settings.training_timeout_seconds,
            on_output=on_output,
            s3_endpoint_url=settings.s3_endpoint_url,
        )
        log_uri = _keep_log(settings, run.log)
        if run.error is not None or run.output is None:
            return _fail(settings, job, run.error or "The training made nothing.", run.exit_code, log_uri)
        return _complete(settings, job, run, run.output, log_uri)
    except BadInput as error:
        return _fail(settings, job, str(error), None, None)


def _complete(settings: Settings, job: TrainingJob, run: TrainingRun, output: Path, log_uri: str | None) -> TrainingJob:
    location = artifact_store.location(settings)
    stored = artifact_store.put(location, output, f"artifacts/{job.id}.model")
    record_uri = artifact_store.put_bytes(location, run.training_record, "training", ".json")
    completed = job.model_copy(
        update={
            **stored.model_dump(exclude={"uri"}),
            "artifact_uri": stored.uri,
            "status": JobStatus.COMPLETED,
            "finished_at": _now(),
            "exit_code": run.exit_code,
            "metrics": run.metrics,
            "training_record_sha256": checksums.sha256_hex(run.training_record),
            "training_record_uri": record_uri,
            "log_uri": log_uri,
        }
    )
    statement = attest(claims.of_training(completed), configured_signer(settings, Purpose.ARTIFACT))
    with database.transaction(settings) as tx:
        return jobs.complete(tx, completed, statement)


def _fail(settings: Settings, job: TrainingJob, error: str, exit_code: int | None, log_uri: str | None) -> TrainingJob:
    with database.transaction(settings) as tx:
        return jobs.fail(tx, job.id, error=error, exit_code=exit_code, log_uri=log_uri, at=_now())


def _keep_log(settings: Settings, log: Path | None) -> str | None:
    if log is None:
        return None
    return artifact_store.put_bytes(artifact_store.location(settings), log.read_bytes(), "logs", ".log")


def _now() -> datetime:
    return datetime.now(UTC)
