"""Register stored bytes as the next version of a model: read, hash and scan them first, sign what was found, then record all of it."""

from datetime import UTC, datetime
from uuid import uuid4

from aiinfra_core import canonical_json, checksums, database, measurements
from aiinfra_core.artifact_store import recorded, reserved
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, Conflict, DigestMismatch, NotFound
from aiinfra_core.evidence import claims, statements
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import audit_signer, configured_signer
from aiinfra_core.registry import registrations
from aiinfra_core.registry.registrations import Origin
from aiinfra_core.scanning.heads import Heads
from aiinfra_core.scanning.scan import findings, signed
from aiinfra_core.settings import Settings


@measurements.registration()
def register(settings: Settings, request: RegistrationRequest) -> Artifact:
    """Verify the bytes at the request's URI and record them, signed, as the next version; asked again, return that version.

    Without a request id of its own the request is (training job, model, checksum).

    Raises:
        NotFound: no such job.
        ArtifactMissing: nothing is at the URI.
        DigestMismatch: the bytes, or what the job made, are not what the request names; nothing is recorded.
        BadInput: the URI is below no artifact root or is where records are kept, the job is not completed or is of another model.
        Conflict: the request id was used for another registration, or bytes were removed from the URI for good.
        Unavailable: a required part could not be reached; nothing is recorded.
    """
    request_id = request.request_id or _default_request_id(request)
    with database.autocommit(settings) as connection:
        known = registrations.known(connection, request, request_id)
    if known.registered:
        return known.registered
    job = _checked_job(known.job, request)
    signer = configured_signer(settings, Purpose.ARTIFACT)
    audit_signer(settings)  # whoever may not sign the event of a change must not make the change
    reserved.refuse(settings, request.artifact_uri)
    heads = Heads(request.artifact_uri) if settings.scan else None
    stored = recorded.verify(settings, request.artifact_uri, request.checksum, heads)
    found = None if heads is None else findings(settings, stored, heads)
    artifact_id, at = uuid4(), datetime.now(UTC)
    payload = statements.registration(
        artifact_id=artifact_id,
        subject=claims.stored_subject(request.model, stored),
        registered_at=at,
        training_attestation=job.attestation if job else None,
        **request.model_dump(exclude={"checksum", "request_id"}),
    )
    statement = attest(payload, signer)
    scanned = None if found is None else signed(signer, artifact_id, request.model, stored, found, request.registered_by)
    with database.autocommit(settings) as connection:
        kept = registrations.register(
            connection,
            request,
            artifact_id=artifact_id,
            request_id=request_id,
            stored=stored,
            attestation=statement,
            at=at,
            scanned=scanned,
        )
    keep_up(settings)
    return kept


def registration_of(job: TrainingJob, by: str | None = None) -> RegistrationRequest:
    """Return the request that registers what a completed job made, in the name of whoever completed it, else of who asked for the job.

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
        registered_by=by or job.requested_by,
    )


def _default_request_id(request: RegistrationRequest) -> str:
    identity = [str(request.training_job_id), request.model, request.checksum]
    return "register:" + checksums.sha256_hex(canonical_json.dumps(identity))


def _checked_job(job: Origin | None, request: RegistrationRequest) -> Origin | None:
    if request.training_job_id is None:
        return None
    if job is None:
        raise NotFound(f"There is no training job {request.training_job_id}.")
    if job.status is not JobStatus.COMPLETED:
        raise Conflict(f"Training job {job.id} is {job.status}; only what a completed job made can be registered for it.")
    if job.model != request.model:
        raise BadInput(f"Training job {job.id} trained {job.model}, not {request.model}.")
    if job.checksum != request.checksum:
        raise DigestMismatch(f"Training job {job.id} made {job.checksum}, but the request names {request.checksum}.")
    return job
