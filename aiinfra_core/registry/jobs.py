"""Training jobs: asked for, started, completed or failed; one whose executor is gone goes back to those that wait.

Each event names who did it: `by`. Who asked for the job stays in its row. Who may run a job now is in `leases`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, select, tuple_

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.training import JobStatus, TrainingJob, TrainingSpec
from aiinfra_core.errors import NotFound
from aiinfra_core.registry import attestations
from aiinfra_core.registry.requests import claim
from aiinfra_core.registry.rows import every, insert_row, locked_row, row_by_id, update_row
from aiinfra_core.tables import training_jobs

_MODEL = select(training_jobs.c.model).where(training_jobs.c.id == bindparam("job"))
OUTCOME = {
    "status",
    "finished_at",
    "exit_code",
    "artifact_uri",
    "digest_kind",
    "checksum",
    "size_bytes",
    "training_record_sha256",
    "training_record_uri",
    "log_uri",
}


def request(tx: Connection, spec: TrainingSpec, *, requested_by: str, request_id: str, at: datetime) -> UUID:
    """Queue a training job and return its id; the same request gives the same job.

    Raises:
        Conflict: the request id was used for another spec.
    """
    job_id = uuid4()
    first = claim(tx, "train", request_id, spec.model_dump(mode="json"), job_id, at)
    if first != job_id:
        return first
    row = insert_row(
        tx,
        training_jobs,
        id=job_id,
        request_id=request_id,
        requested_by=requested_by,
        status=JobStatus.QUEUED,
        spec_digest=spec.digest(),
        created_at=at,
        updated_at=at,
        **_spec_columns(spec),
    )
    _tell(tx, "training.requested", row, at, requested_by)
    return job_id


def lock(tx: Connection, job_id: UUID) -> TrainingJob:
    """Return one job and keep everybody else from changing it until the transaction ends.

    Raises:
        NotFound: there is no such job.
    """
    return _job(locked_row(tx, training_jobs, job_id, "training job"))


def start(tx: Connection, job_id: UUID, *, by: str, at: datetime) -> TrainingJob:
    """Move a queued job to running; a job that is already further on stays as it is.

    Raises:
        NotFound: there is no such job.
    """
    row = locked_row(tx, training_jobs, job_id, "training job")
    if row["status"] == JobStatus.QUEUED:
        row = update_row(tx, training_jobs, job_id, status=JobStatus.RUNNING, started_at=at, updated_at=at)
        _tell(tx, "training.started", row, at, by)
    return _job(row)


def tell_started(tx: Connection, job_id: UUID, *, by: str, at: datetime) -> TrainingJob:
    """Tell of a job that a statement of this transaction moved to running, and return it."""
    row = row_by_id(tx, training_jobs, job_id, "training job")
    _tell(tx, "training.started", row, at, by)
    return _job(row)


def release(tx: Connection, job_id: UUID, *, by: str, at: datetime) -> TrainingJob:
    """Move a running job back to queued; a job that is not running stays as it is."""
    row = locked_row(tx, training_jobs, job_id, "training job")
    if row["status"] == JobStatus.RUNNING:
        row = update_row(tx, training_jobs, job_id, status=JobStatus.QUEUED, started_at=None, updated_at=at)
        _tell(tx, "training.released", row, at, by)
    return _job(row)


def complete(tx: Connection, completed: TrainingJob, attestation: Attestation, *, by: str) -> TrainingJob:
    """Record what a running job made and its signed provenance; a job that is not running stays as it is."""
    row = locked_row(tx, training_jobs, completed.id, "training job")
    if row["status"] != JobStatus.RUNNING or completed.finished_at is None:
        return _job(row)
    at = completed.finished_at
    statement = attestations.keep(tx, attestation, at)
    metrics = None if completed.metrics is None else canonical_json.dumps(completed.metrics).decode()
    changes = completed.model_dump(include=OUTCOME) | {"metrics": metrics, "attestation": attestation.digest, "updated_at": at}
    row = update_row(tx, training_jobs, completed.id, **changes)
    _tell(tx, "training.completed", row, at, by, attestations=statement)
    return _job(row)


def fail(tx: Connection, job_id: UUID, *, error: str, exit_code: int | None, log_uri: str | None, by: str, at: datetime) -> TrainingJob:
    """Record why a job failed; a job that already ended stays as it is."""
    row = locked_row(tx, training_jobs, job_id, "training job")
    if row["status"] in (JobStatus.QUEUED, JobStatus.RUNNING):
        changes = {"error": error, "exit_code": exit_code, "log_uri": log_uri, "finished_at": at, "updated_at": at}
        row = update_row(tx, training_jobs, job_id, status=JobStatus.FAILED, **changes)
        _tell(tx, "training.failed", row, at, by)
    return _job(row)


def model_of(tx: Connection, job_id: UUID) -> str:
    """Return the name of the model a job trains.

    Raises:
        NotFound: there is no such job.
    """
    name = tx.execute(_MODEL, {"job": job_id}).scalar_one_or_none()
    if name is None:
        raise NotFound(f"There is no training job {job_id}.")
    return str(name)


def get(tx: Connection, job_id: UUID) -> TrainingJob:
    """Return one job.

    Raises:
        NotFound: there is no such job.
    """
    return _job(row_by_id(tx, training_jobs, job_id, "training job"))


@dataclass(frozen=True)
class Wanted:
    """Which jobs are listed; what is None does not matter. `since` is counted in, `until` is not."""

    status: JobStatus | None = None
    model: str | None = None
    code_ref: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def newest(tx: Connection, wanted: Wanted, *, limit: int, after: tuple[datetime, UUID] | None = None) -> list[TrainingJob]:
    """Return jobs, newest first; `after` is (created_at, id) of the last one seen."""
    at, key = training_jobs.c.created_at, training_jobs.c.id
    query = select(training_jobs).order_by(at.desc(), key.desc()).limit(limit)
    for name in ("status", "model", "code_ref"):
        if (value := getattr(wanted, name)) is not None:
            query = query.where(training_jobs.c[name] == value)
    if wanted.since is not None:
        query = query.where(at >= wanted.since)
    if wanted.until is not None:
        query = query.where(at < wanted.until)
    if after is not None:
        query = query.where(tuple_(at, key) < after)
    return [_job(row) for row in every(tx, query)]


def _tell(tx: Connection, event_type: str, row: Mapping[str, Any], at: datetime, by: str, **more_rows: Mapping[str, Any]) -> None:
    told = event(
        event_type,
        at=at,
        actor=by,
        request_id=row["request_id"],
        subject=str(row["id"]),
        rows={"training_jobs": row, **more_rows},
        digests={"spec": row["spec_digest"]},
    )
    append(tx, told)


def _spec_columns(spec: TrainingSpec) -> dict[str, Any]:
    return spec.model_dump(exclude={"hyperparams", "dataset_refs"}) | {
        "hyperparams": canonical_json.dumps(spec.hyperparams).decode(),
        "dataset_refs": canonical_json.dumps([ref.model_dump() for ref in spec.dataset_refs]).decode(),
    }


def _job(row: Mapping[str, Any]) -> TrainingJob:
    spec = TrainingSpec(
        **{name: row[name] for name in ("model", "code_ref", "container_digest", "entry_point", "seed")},
        hyperparams=canonical_json.loads(row["hyperparams"]),
        dataset_refs=canonical_json.loads(row["dataset_refs"]),
    )
    own = {name: row[name] for name in TrainingJob.model_fields if name not in ("spec", "metrics")}
    return TrainingJob(spec=spec, metrics=None if row["metrics"] is None else canonical_json.loads(row["metrics"]), **own)
