"""Training jobs: asked for, started, completed or failed, and only in that order."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.training import JobStatus, TrainingJob, TrainingSpec
from aiinfra_core.registry import attestations
from aiinfra_core.registry.requests import claim
from aiinfra_core.registry.rows import insert_row, locked_row, row_by_id, update_row
from aiinfra_core.tables import training_jobs

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
    _tell(tx, "training.requested", row, at)
    return job_id


def start(tx: Connection, job_id: UUID, *, at: datetime) -> TrainingJob:
    """Move a queued job to running; a job that is already further on stays as it is.

    Raises:
        NotFound: there is no such job.
    """
    row = locked_row(tx, training_jobs, job_id, "training job")
    if row["status"] == JobStatus.QUEUED:
        row = update_row(tx, training_jobs, job_id, status=JobStatus.RUNNING, started_at=at, updated_at=at)
        _tell(tx, "training.started", row, at)
    return _job(row)


def complete(tx: Connection, completed: TrainingJob, attestation: Attestation) -> TrainingJob:
    """Record what a running job made and its signed provenance; a job that already ended stays as it is."""
    row = locked_row(tx, training_jobs, completed.id, "training job")
    if row["status"] != JobStatus.RUNNING or completed.finished_at is None:
        return _job(row)
    at = completed.finished_at
    statement = attestations.keep(tx, attestation, at)
    metrics = None if completed.metrics is None else canonical_json.dumps(completed.metrics).decode()
    changes = completed.model_dump(include=OUTCOME) | {"metrics": metrics, "attestation": attestation.digest, "updated_at": at}
    row = update_row(tx, training_jobs, completed.id, **changes)
    _tell(tx, "training.completed", row, at, attestations=statement)
    return _job(row)


def fail(tx: Connection, job_id: UUID, *, error: str, exit_code: int | None, log_uri: str | None, at: datetime) -> TrainingJob:
    """Record why a running job failed; a job that already ended stays as it is."""
    row = locked_row(tx, training_jobs, job_id, "training job")
    if row["status"] == JobStatus.RUNNING:
        changes = {"error": error, "exit_code": exit_code, "log_uri": log_uri, "finished_at": at, "updated_at": at}
        row = update_row(tx, training_jobs, job_id, status=JobStatus.FAILED, **changes)
        _tell(tx, "training.failed", row, at)
    return _job(row)


def get(tx: Connection, job_id: UUID) -> TrainingJob:
    """Return one job.

    Raises:
        NotFound: there is no such job.
    """
    return _job(row_by_id(tx, training_jobs, job_id, "training job"))


def _tell(tx: Connection, event_type: str, row: Mapping[str, Any], at: datetime, **more_rows: Mapping[str, Any]) -> None:
    told = event(
        event_type,
        at=at,
        actor=row["requested_by"],
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
