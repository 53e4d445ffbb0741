"""Register stored bytes as the next version of a model: read and hash them first, sign what was found, then record it."""

from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import Connection

from aiinfra_core import artifact_store, canonical_json, checksums, database
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, DigestMismatch
from aiinfra_core.evidence import claims, statements
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import configured_signer
from aiinfra_core.registry import artifacts, jobs
from aiinfra_core.settings import Settings


def register(settings: Settings, request: RegistrationRequest) -> Artifact:
    """Verify the bytes at the request's URI and record them, signed, as the next version; asked again, return that version.

    Without a request id of its own the request is (training job, model, checksum).

    Raises:
        NotFound: no such job, or nothing is at the URI.
        DigestMismatch: the bytes, or what the job made, are not what the request names; nothing is recorded.
        BadInput: the job is not completed or is of another model.
        Conflict: the request id was used for another registration.
        Unavailable: a required part could not be reached; nothing is recorded.
    """
    request_id = request.request_id or _default_request_id(request)
    with database.autocommit(settings) as connection:
        if registered := artifacts.registered_under(connection, request, request_id):
            return registered
        job = _checked_job(connection, request)
    stored = artifact_store.verify(artifact_store.location(settings), request.artifact_uri, request.checksum)
    artifact_id, at = uuid4(), datetime.now(UTC)
    payload = statements.registration(
        artifact_id=artifact_id,
        subject=claims.stored_subject(request.model, stored),
        registered_at=at,
        training_attestation=job.attestation if job else None,
        **request.model_dump(exclude={"checksum", "request_id"}),
    )
    statement = attest(payload, configured_signer(settings, Purpose.ARTIFACT))
    with database.transaction(settings) as tx:
        kept = artifacts.register(tx, request, artifact_id=artifact_id, request_id=request_id, stored=stored, attestation=statement, at=at)
    keep_up(settings)
    return kept


def registration_of(job: TrainingJob) -> RegistrationRequest:
    """Return the request that registers what a completed job made.

    Raises:
        BadInput: the job is not completed.
    """
    if job.status is not JobStatus.COMPLETED or job.artifact_uri is None or job.checksum is None:
        raise BadInput(f"Training job {job.id} is {job.status}, so there is nothing to register; its log says why.")
    return RegistrationRequest(
        model=job.spec.model,
        artifact_uri=job.artifact_uri,
        checksum=job.checksum,
        training_job_id=job.id,
        metadata={"seed": job.spec.seed, "hyperparams": job.spec.hyperparams},
        registered_by=job.requested_by,
    )


def _default_request_id(request: RegistrationRequest) -> str:
    identity = [str(request.training_job_id), request.model, request.checksum]
    return "register:" + checksums.sha256_hex(canonical_json.dumps(identity))


def _checked_job(tx: Connection, request: RegistrationRequest) -> TrainingJob | None:
    if request.training_job_id is None:
        return None
    job = jobs.get(tx, request.training_job_id)
    if job.status is not JobStatus.COMPLETED:
        raise BadInput(f"Training job {job.id} is {job.status}; only what a completed job made can be registered for it.")
    if job.spec.model != request.model:
        raise BadInput(f"Training job {job.id} trained {job.spec.model}, not {request.model}.")
    if job.checksum != request.checksum:
        raise DigestMismatch(f"Training job {job.id} made {job.checksum}, but the request names {request.checksum}.")
    return job
