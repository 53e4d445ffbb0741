"""Executors that are not ours (a Kubernetes Job, Argo): they claim a job, say that they live, and say what came of it.

What they made is read and hashed before anything is recorded, and registered in the executor's own name, as the runner's work is in the
runner's. How they made it nobody here has seen: the training record and the signed provenance say `external`, who
declared it, and no more than that.
"""

from typing import Any
from uuid import UUID

from aiinfra_core import canonical_json, checksums, database, evaluating, jobs, registering
from aiinfra_core.artifact_store import recorded, reserved
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Conflict
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import configured_signer
from aiinfra_core.registry import jobs as registry
from aiinfra_core.registry import leases, tombstones
from aiinfra_core.registry.leases import Claimed, Pushed
from aiinfra_core.running.work import take_back_late
from aiinfra_core.settings import Settings
from aiinfra_core.wire.executing import ClaimJob, CompleteJob, FailJob, Heartbeat

EXECUTOR = "external"


def claim(settings: Settings, asked: ClaimJob, *, by: str) -> Claimed | None:
    """Start the oldest job that waits, under a lease of whoever asks; None when nothing waits.

    Raises:
        Unavailable: the database cannot be reached.
    """
    take_back_late(settings)
    with database.transaction(settings) as tx:
        seconds = asked.lease_seconds or settings.lease_seconds
        claimed = leases.claim(tx, holder=by, seconds=seconds, at=jobs.now(), models=asked.models)
    if claimed is not None:
        keep_up(settings)
    return claimed


def heartbeat(settings: Settings, job_id: UUID, asked: Heartbeat, *, by: str) -> Pushed:
    """Push the lease's end on.

    Raises:
        NotFound: there is no such job.
        Conflict: the lease was lost.
        Forbidden: it is somebody else's.
    """
    seconds = asked.lease_seconds or settings.lease_seconds
    with database.transaction(settings) as tx:
        return leases.heartbeat(tx, job_id, asked.lease_token, by=by, seconds=seconds, at=jobs.now())


def release(settings: Settings, job_id: UUID, token: str, *, by: str) -> TrainingJob:
    """Give a job back; asked again with the same token, return it as it is.

    Raises:
        NotFound, Conflict, Forbidden: as `heartbeat`.
    """
    with database.transaction(settings) as tx:
        job = registry.lock(tx, job_id)
        if not (job.status is JobStatus.QUEUED and leases.ended_with(tx, job_id, token)):
            job = leases.release(tx, job_id, token, by=by, at=jobs.now())
    keep_up(settings)
    return job


def fail(settings: Settings, job_id: UUID, asked: FailJob, *, by: str) -> TrainingJob:
    """Record why a training failed; said again with the same token and reason, return what is recorded.

    Raises:
        NotFound, Conflict, Forbidden: as `heartbeat`.
    """
    with database.transaction(settings) as tx:
        job = registry.get(tx, job_id)
        said_before = job.status is JobStatus.FAILED and leases.ended_with(tx, job_id, asked.lease_token)
    if said_before:
        return _same(job, error=asked.error, exit_code=asked.exit_code)
    job = jobs.record_failure(settings, job, asked.error, by=by, token=asked.lease_token, exit_code=asked.exit_code)
    keep_up(settings)
    return job


def complete(settings: Settings, job_id: UUID, asked: CompleteJob, *, by: str) -> tuple[TrainingJob, Artifact]:
    """Record what a training made and register it, once its bytes were read; said again the same way, return what is recorded.

    Raises:
        NotFound: there is no such job.
        Conflict: the lease was lost, something else was said before, or bytes were removed from the URI for good.
        Forbidden: the lease is somebody else's.
        ArtifactMissing: nothing is at the URI; nothing is recorded, and the lease stands.
        DigestMismatch: the bytes are other ones; nothing is recorded, and the lease stands.
        BadInput: the URI is below no root that may be read or is where records are kept, or the commit is not the job's.
        Unavailable: a required part could not be reached; the same call goes on.
    """
    with database.transaction(settings) as tx:
        job = registry.get(tx, job_id)
        if not (job.status is JobStatus.COMPLETED and leases.ended_with(tx, job_id, asked.lease_token)):
            job = leases.fence(tx, job_id, token=asked.lease_token, by=by)
    record = training_record(job, asked, by=by)
    if job.status is JobStatus.COMPLETED:
        job = _same(
            job,
            artifact_uri=asked.artifact_uri,
            checksum=asked.checksum,
            metrics=asked.metrics,
            exit_code=asked.exit_code,
            training_record_sha256=checksums.sha256_hex(record),
        )
    else:
        job = _recorded(settings, job, asked, record, by)
    artifact = registering.register(settings, registering.registration_of(job, by))
    evaluating.record_measured(settings, artifact.id)
    with database.transaction(settings) as tx:
        leases.finish(tx, job.id, at=jobs.now())
    keep_up(settings)
    return job, artifact


def training_record(job: TrainingJob, asked: CompleteJob, *, by: str) -> bytes:
    """Return the record of a training that was run elsewhere; all it says of the run is what was declared.

    Raises:
        BadInput: the declared commit is not the job's.
    """
    if asked.commit is not None and asked.commit != job.spec.code_ref.rpartition("@")[2]:
        raise BadInput(f"Training job {job.id} is pinned to {job.spec.code_ref}; what another commit made cannot complete it.")
    return canonical_json.dumps(
        {
            "executor": EXECUTOR,
            "declaredBy": by,
            "spec": job.spec.model_dump(mode="json", by_alias=True),
            "commit": asked.commit,
            "datasets": {ref.name: ref.sha256 for ref in job.spec.dataset_refs},
            "environment": None if asked.environment is None else _locked(asked.environment.model_dump(mode="json")),
        }
    )


def _locked(environment: dict[str, Any]) -> dict[str, Any]:
    return environment | {"digest": checksums.sha256_hex(canonical_json.dumps(environment))}


def _recorded(settings: Settings, job: TrainingJob, asked: CompleteJob, record: bytes, by: str) -> TrainingJob:
    reserved.refuse(settings, asked.artifact_uri)
    with database.autocommit(settings) as connection:
        tombstones.refuse_place(connection, asked.artifact_uri)
    stored = recorded.verify(settings, asked.artifact_uri, asked.checksum)
    completed = jobs.completion(settings, job, stored, record, exit_code=asked.exit_code, metrics=asked.metrics)
    statement = attest(claims.of_training(completed, declared_by=by), configured_signer(settings, Purpose.ARTIFACT))
    return jobs.record_completion(settings, completed, statement, by=by, token=asked.lease_token)


def _same(job: TrainingJob, **said: object) -> TrainingJob:
    if other := [name for name, value in said.items() if getattr(job, name) != value]:
        raise Conflict(f"Training job {job.id} has ended with another {', '.join(other)}; what is recorded stays.")
    return job
