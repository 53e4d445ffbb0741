"""What came out when trainings were run again: kept once for each request, with the signed statement of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, tuple_

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.reproduction import Reproduction
from aiinfra_core.registry import attestations, requests
from aiinfra_core.registry.rows import every, first, full_row, row_by_id
from aiinfra_core.registry.writes import inserted, inserted_if_new, told, values
from aiinfra_core.tables import attestations as attestations_table
from aiinfra_core.tables import reproductions, request_ids

_OPERATION = "reproduce"
_RECORD = told(inserted(attestations_table, inserted(reproductions, inserted_if_new(request_ids))))


def record(connection: Connection, reproduction: Reproduction, attestation: Attestation, asked: dict[str, Any]) -> Reproduction:
    """Keep a signed reproduction; where the same request was kept before, that one is returned.

    Args:
        connection: makes one statement, which is a transaction or part of one.
        reproduction: what came out.
        attestation: the signed statement of it.
        asked: what the request was for; the same request id stands for the same.

    Raises:
        RequestIdReused: the request id was used for something else.
    """
    row = full_row(
        reproductions,
        **{**reproduction.model_dump(), "report": canonical_json.dumps(reproduction.report).decode(), "attestation": attestation.digest},
    )
    at = reproduction.created_at
    request = requests.row_of(_OPERATION, reproduction.request_id, asked, reproduction.id, at)
    statement = attestations.row_of(attestation, at)
    tell = event(
        "reproduction.checked",
        at=at,
        actor=reproduction.reproduced_by,
        request_id=reproduction.request_id,
        subject=str(reproduction.artifact_id),
        rows={"reproductions": row, "attestations": statement},
        digests={"statement": attestation.digest},
    )
    bound = values("request_ids", request) | values("reproductions", row) | values("attestations", statement) | values("event", tell)
    if first(connection, _RECORD, bound):
        return _reproduction(row)
    kept = earlier(connection, reproduction.request_id, asked)
    assert kept is not None  # noqa: S101 - the insert found its request id taken
    return kept


def earlier(tx: Connection, request_id: str, asked: dict[str, Any]) -> Reproduction | None:
    """Return what an earlier request of this id came to, if there was one.

    Raises:
        RequestIdReused: it was for something else.
    """
    known = requests.earlier(tx, _OPERATION, request_id, asked)
    return None if known is None else _reproduction(row_by_id(tx, reproductions, known, "reproduction"))


def newest(tx: Connection, artifact_id: UUID) -> Reproduction | None:
    """Return the newest reproduction of an artifact, if there is one."""
    return next(iter(of_artifact(tx, artifact_id, limit=1)), None)


def of_artifact(
    tx: Connection, artifact_id: UUID, *, limit: int | None = None, after: tuple[datetime, UUID] | None = None
) -> list[Reproduction]:
    """Return the reproductions of an artifact, newest first; `after` is the (created_at, id) of the last one seen."""
    at, key = reproductions.c.created_at, reproductions.c.id
    query = select(reproductions).where(reproductions.c.artifact_id == artifact_id).order_by(at.desc(), key.desc()).limit(limit)
    if after is not None:
        query = query.where(tuple_(at, key) < after)
    return [_reproduction(row) for row in every(tx, query)]


def _reproduction(row: Mapping[str, Any]) -> Reproduction:
    return Reproduction(**{**row, "report": canonical_json.loads(row["report"])})
