"""Registering an artifact as the next version of its model: one read, one write; finding one lives in `artifacts`.

The write is one statement (`writes`): the version is counted, the request id taken, statement and artifact kept, and the event told,
all of it or nothing. Only the statement knows the version, so the event's text goes in with gaps for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import Connection, Text, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest, StoredArtifact
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.scan import Scan
from aiinfra_core.domain.training import JobStatus
from aiinfra_core.errors import RequestIdReused
from aiinfra_core.registry import artifacts, attestations, requests, rows, scans, tombstones
from aiinfra_core.registry.writes import as_text, inserted, told, told_with, values, with_gaps
from aiinfra_core.tables import artifact_scans, model_artifacts, models, request_ids, training_jobs
from aiinfra_core.tables import attestations as attestations_table

OPERATION = "register"

# They stand in an event's text for what is not known yet; nobody who writes metadata can guess them.
_VERSION, _BEGAN = f"version {uuid4()}", f"began {uuid4()}"
_GAPS = (f'"{_VERSION}"', _BEGAN, f'"{_VERSION}"')
_TIMESTAMP = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'

_NUMBERED = (
    insert(models)
    .values(name=bindparam("model", type_=Text), last_version=1, created_at=bindparam("at", type_=models.c.created_at.type))
    .on_conflict_do_update(index_elements=[models.c.name], set_={"last_version": models.c.last_version + 1})
    .returning(models.c.last_version, models.c.created_at)
    .cte("numbered")
)
_NUMBER = select(_NUMBERED.c.last_version).scalar_subquery()
_SINCE = select(func.to_char(func.timezone("UTC", _NUMBERED.c.created_at), _TIMESTAMP)).scalar_subquery()
_KEPT = inserted(model_artifacts, inserted(attestations_table, inserted(request_ids, _NUMBERED)), version=_NUMBER)
_TOLD = told_with(_KEPT, _NUMBER, _SINCE, _NUMBER)
_register = as_text(select(_NUMBERED.c.last_version).add_cte(_TOLD))
_SCANNED = inserted(artifact_scans, inserted(attestations_table, _TOLD, "scan_statement"))
_register_scanned = as_text(select(_NUMBERED.c.last_version).add_cte(told(_SCANNED, "scan_event").cte("told_scan")))

_JOB = ("status", "model", "checksum", "attestation")
_asked = as_text(
    select(request_ids.c.body_digest, request_ids.c.subject_id, training_jobs.c.id, *(training_jobs.c[name] for name in _JOB))
    .select_from(select(literal(1)).subquery("one"))
    .outerjoin(request_ids, (request_ids.c.operation == OPERATION) & (request_ids.c.request_id == bindparam("request_id")))
    .outerjoin(training_jobs, training_jobs.c.id == bindparam("job"))
)


@dataclass(frozen=True)
class Origin:
    """What a registration has to know of the training job it names."""

    id: UUID
    status: JobStatus
    model: str
    checksum: str | None
    attestation: str | None


@dataclass(frozen=True)
class Known:
    """What is there before a registration: the artifact that the same request made earlier, or the training job it names."""

    registered: Artifact | None = None
    job: Origin | None = None


def known(connection: Connection, request: RegistrationRequest, request_id: str) -> Known:
    """Return what is there already.

    Raises:
        Conflict: the request id was used for another registration.
    """
    row = _asked(connection, {"request_id": request_id, "job": request.training_job_id}).one()
    if row.body_digest is not None:
        return Known(registered=_earlier(connection, request, request_id, row.body_digest, row.subject_id))
    if row.id is None:
        return Known()
    return Known(job=Origin(row.id, JobStatus(row.status), row.model, row.checksum, row.attestation))


def register(
    connection: Connection,
    request: RegistrationRequest,
    *,
    artifact_id: UUID,
    request_id: str,
    stored: StoredArtifact,
    attestation: Attestation,
    at: datetime,
    scanned: tuple[Scan, Attestation] | None = None,
) -> Artifact:
    """Add the next version of a model; the same request gives the same version. Each statement has to be a transaction of its own.

    What was found in its bytes is recorded with it, and told of by an event of its own.

    Versions have no gaps, also under concurrency: the row of the model is locked until the statement ends.

    Raises:
        Conflict: the request id was used for another registration, or bytes were removed from there.
    """
    claimed = requests.row_of(OPERATION, request_id, _body(request), artifact_id, at)
    statement = attestations.row_of(attestation, at)
    row = _row(request, artifact_id, stored, attestation, at)
    tell = event(
        "artifact.registered",
        at=at,
        actor=request.registered_by,
        request_id=request_id,
        subject=str(artifact_id),
        rows={
            "model_artifacts": row,
            "models": {"name": request.model, "last_version": _VERSION, "created_at": _BEGAN},
            "attestations": statement,
        },
        digests={"artifact": stored.checksum, "registration": attestation.digest},
    )
    bound = (
        {"model": request.model, "at": at}
        | values("request_ids", claimed)
        | values("attestations", statement)
        | values("model_artifacts", row)
        | with_gaps(tell, _GAPS)
        | (_bound_scan(*scanned, stored.checksum) if scanned else {})
    )
    try:
        version = (_register_scanned if scanned else _register)(connection, bound).scalar_one()
    except IntegrityError as error:
        first = known(connection, request, request_id).registered
        if first is None:
            if _names_the_place(error):
                raise tombstones.pruned_place(stored.uri) from None
            raise
        return first
    return artifacts.artifact_from({**row, "version": version})


def _bound_scan(scan: Scan, attestation: Attestation, checksum: str) -> dict[str, Any]:
    row, statement = scans.row_of(scan, attestation), attestations.row_of(attestation, scan.created_at)
    tell = scans.told_of(scan, row, statement, checksum)
    return values("artifact_scans", row) | values("scan_statement", statement) | values("scan_event", tell)


def _names_the_place(error: IntegrityError) -> bool:
    return isinstance(error.orig, psycopg.Error) and error.orig.diag.constraint_name == "not_pruned"


def _earlier(connection: Connection, request: RegistrationRequest, request_id: str, body_digest: str, subject_id: UUID) -> Artifact:
    """Return what the same request made; what a job made is registered once, whoever asks for it again without an id of their own."""
    try:
        return artifacts.get(connection, requests.subject_of(body_digest, subject_id, OPERATION, request_id, _body(request)))
    except RequestIdReused:
        kept = artifacts.get(connection, subject_id)
        same = {name for name in RegistrationRequest.model_fields if name not in ("registered_by", "request_id")}
        own = request.request_id is not None or request.training_job_id is None
        if own or any(getattr(kept, name) != getattr(request, name) for name in same):
            raise
        return kept


def _row(
    request: RegistrationRequest, artifact_id: UUID, stored: StoredArtifact, attestation: Attestation, at: datetime
) -> Mapping[str, Any]:
    return rows.full_row(
        model_artifacts,
        id=artifact_id,
        version=_VERSION,
        model=request.model,
        training_job_id=request.training_job_id,
        manifest_signature_id=request.manifest_signature_id,
        registered_by=request.registered_by,
        metadata=canonical_json.dumps(request.metadata).decode(),
        signer_id=attestation.signer_id,
        signature=attestation.signature,
        attestation=attestation.digest,
        artifact_uri=stored.uri,
        digest_kind=stored.digest_kind,
        checksum=stored.checksum,
        size_bytes=stored.size_bytes,
        created_at=at,
    )


def _body(request: RegistrationRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude={"request_id"})
