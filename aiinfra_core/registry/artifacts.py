"""Models, their gap-free versions, and how an artifact is found by what a person would call it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest, StoredArtifact
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.errors import NotFound
from aiinfra_core.registry import attestations, rows
from aiinfra_core.registry.requests import claim, earlier
from aiinfra_core.tables import environment_pointers, model_artifacts, models

_NEW_MODEL = insert(models).on_conflict_do_nothing()
_NEXT_VERSION = (
    update(models).where(models.c.name == bindparam("model")).values(last_version=models.c.last_version + 1).returning(*models.c)
)

_OF_MODEL = select(model_artifacts).where(model_artifacts.c.model == bindparam("model"))
# What a person may call an artifact -> the query that finds it.
FOUND_BY: dict[str, Select[Any]] = {
    "id": select(model_artifacts).where(model_artifacts.c.id == bindparam("id")),
    "version": _OF_MODEL.where(model_artifacts.c.version == bindparam("version")),
    "model": _OF_MODEL.order_by(model_artifacts.c.version.desc()).limit(1),
    "environment": select(model_artifacts)
    .join(environment_pointers, environment_pointers.c.artifact_id == model_artifacts.c.id)
    .where(environment_pointers.c.environment == bindparam("environment"), environment_pointers.c.model == bindparam("model")),
}


def register(
    tx: Connection,
    request: RegistrationRequest,
    *,
    artifact_id: UUID,
    request_id: str,
    stored: StoredArtifact,
    attestation: Attestation,
    at: datetime,
) -> Artifact:
    """Add the next version of a model; the same request gives the same version.

    Versions have no gaps, also under concurrency: the row of the model is locked until the transaction ends.

    Raises:
        Conflict: the request id was used for another registration.
    """
    claimed = claim(tx, "register", request_id, _body(request), artifact_id, at)
    if claimed != artifact_id:
        return get(tx, claimed)
    statement = attestations.keep(tx, attestation, at)
    model = _next_version(tx, request.model, at)
    row = rows.insert_row(
        tx,
        model_artifacts,
        id=artifact_id,
        version=model["last_version"],
        metadata=canonical_json.dumps(request.metadata).decode(),
        signer_id=attestation.signer_id,
        signature=attestation.signature,
        attestation=attestation.digest,
        created_at=at,
        **request.model_dump(include={"model", "training_job_id", "manifest_signature_id", "registered_by"}),
        artifact_uri=stored.uri,
        digest_kind=stored.digest_kind,
        checksum=stored.checksum,
        size_bytes=stored.size_bytes,
    )
    told = event(
        "artifact.registered",
        at=at,
        actor=request.registered_by,
        request_id=request_id,
        subject=str(artifact_id),
        rows={"model_artifacts": row, "models": model, "attestations": statement},
        digests={"artifact": stored.checksum, "registration": attestation.digest},
    )
    append(tx, told)
    return artifact_from(row)


def _next_version(tx: Connection, name: str, at: datetime) -> Mapping[str, Any]:
    tx.execute(_NEW_MODEL, {"name": name, "last_version": 0, "created_at": at})
    return rows.first(tx, _NEXT_VERSION, {"model": name}) or {}


def registered_under(tx: Connection, request: RegistrationRequest, request_id: str) -> Artifact | None:
    """Return the artifact this request registered earlier, if it did.

    Raises:
        Conflict: the request id was used for another registration.
    """
    first = earlier(tx, "register", request_id, _body(request))
    return None if first is None else get(tx, first)


def _body(request: RegistrationRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude={"request_id"})


def get(tx: Connection, artifact_id: UUID) -> Artifact:
    """Return one artifact.

    Raises:
        NotFound: there is no such artifact.
    """
    return artifact_from(rows.row_by_id(tx, model_artifacts, artifact_id, "artifact"))


def find(tx: Connection, reference: str) -> Artifact:
    """Return the artifact a person means: an id, `MODEL` (its newest version), `MODEL:VERSION` or `MODEL@ENVIRONMENT`.

    Raises:
        NotFound: nothing is registered under that name.
    """
    return artifact_from(find_row(tx, reference, FOUND_BY))


def find_row(tx: Connection, reference: str, queries: Mapping[str, Select[Any]], **more: Any) -> dict[str, Any]:
    """Return what one of the queries (as `FOUND_BY`, perhaps with more columns and parameters) finds for a reference.

    Raises:
        NotFound: nothing is registered under that name.
    """
    by, names = _meaning(reference)
    row = rows.first(tx, queries[by], names | more)
    if row is None:
        raise NotFound(f"Nothing is registered as {reference!r}; see: aiinfra models list")
    return row


def _meaning(reference: str) -> tuple[str, dict[str, Any]]:
    try:
        return "id", {"id": UUID(reference)}
    except ValueError:
        pass
    if "@" in reference:
        model, environment = reference.split("@", 1)
        return "environment", {"model": model, "environment": environment}
    model, _, version = reference.partition(":")
    if version:
        number = int(version) if version.isdecimal() and len(version) < 10 else 0  # more digits fit no integer column
        return "version", {"model": model, "version": number}
    return "model", {"model": model}


def newest(
    tx: Connection,
    *,
    model: str | None = None,
    training_job_id: UUID | None = None,
    checksum: str | None = None,
    limit: int = 50,
    after: tuple[datetime, UUID] | None = None,
) -> Sequence[Artifact]:
    """Return registered artifacts, newest first; `after` is the (created_at, id) of the last one seen."""
    query = select(model_artifacts).order_by(model_artifacts.c.created_at.desc(), model_artifacts.c.id.desc()).limit(limit)
    wanted = {"model": model, "training_job_id": training_job_id, "checksum": checksum}
    for column, value in wanted.items():
        if value is not None:
            query = query.where(model_artifacts.c[column] == value)
    if after is not None:
        query = query.where(tuple_(model_artifacts.c.created_at, model_artifacts.c.id) < after)
    return [artifact_from(row) for row in rows.every(tx, query)]


def artifact_from(row: Mapping[str, Any]) -> Artifact:
    """Return the record of a row."""
    return Artifact(**{**row, "metadata": canonical_json.loads(row["metadata"])})
