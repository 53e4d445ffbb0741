"""Registered artifacts, and how one is found by what a person would call it; registering one lives in `registrations`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, select, tuple_

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.errors import NotFound
from aiinfra_core.registry import rows
from aiinfra_core.tables import environment_pointers, model_artifacts

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
