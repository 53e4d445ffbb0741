"""The rows that a policy's inputs are made of, for many promotions in one statement each, as they are or as they were at a time."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from aiinfra_core.registry.evidence import declared_by as _declared_by

MOST_EVALUATIONS = 50
_EVER = datetime.max.replace(tzinfo=UTC)

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Place:
    """An artifact, and until when to look; None for now."""

    artifact_id: UUID
    until: datetime | None


_PLACES = "unnest(CAST(:artifacts AS uuid[]), CAST(:moments AS timestamptz[])) WITH ORDINALITY AS place (artifact_id, until, number)"
_NEWEST = """
SELECT place.number, found.* FROM {places} CROSS JOIN LATERAL (
  SELECT {columns} FROM {table} AS one WHERE one.artifact_id = place.artifact_id AND one.created_at <= place.until
  ORDER BY one.created_at DESC, one.id LIMIT {most}
) AS found ORDER BY place.number, found.created_at DESC, found.id"""
_EVALUATION = (
    "one.id, one.kind, one.metrics::text AS metrics, one.digest, one.recorded_by, one.created_at, one.spec::text AS spec, one.spec_digest"
)


def _newest(table: str, columns: str, most: int) -> TextClause:
    return text(_NEWEST.format(places=_PLACES, table=table, columns=columns, most=most))


_EVALUATIONS = _newest("evaluations", _EVALUATION, MOST_EVALUATIONS)
_REPRODUCTIONS = _newest("reproductions", "one.id, one.created_at, one.outcome, one.reproduced_by, one.finished_at", 1)
_SCANS = _newest("artifact_scans", "one.id, one.created_at, one.verdict, one.scanner, one.findings::text AS findings", 1)
_JUDGED = text(f"""
SELECT place.number, {_EVALUATION}
FROM unnest(CAST(:artifacts AS uuid[]), CAST(:moments AS timestamptz[]), CAST(:digests AS text[])) WITH ORDINALITY
  AS place (artifact_id, until, digest, number)
JOIN evaluations AS one ON one.artifact_id = place.artifact_id AND one.digest = place.digest AND one.created_at <= place.until""")  # noqa: S608 - constants of this file
_JOBS = text("""
SELECT job.id, job.code_ref, job.container_digest, job.entry_point, job.hyperparams::text AS hyperparams,
  job.dataset_refs::text AS dataset_refs, job.seed, job.requested_by, job.metrics::text AS metrics, attestations.envelope
FROM training_jobs AS job LEFT JOIN attestations ON attestations.digest = job.attestation WHERE job.id = ANY (:jobs)""")
_STANDING = text("""
SELECT here.model, here.environment, here.sequence, applied.applied_at, artifact.id AS artifact_id, artifact.version, artifact.checksum
FROM environment_pointers AS here JOIN model_promotions AS applied ON applied.id = here.promotion_id
JOIN model_artifacts AS artifact ON artifact.id = here.artifact_id WHERE here.model = ANY (:models)""")
_STOOD = text("""
SELECT asked.model, asked.environment, asked.sequence_seen + 1 AS sequence, asked.applied_at, artifact.id AS artifact_id, artifact.version,
  artifact.checksum
FROM model_promotions AS asked JOIN model_artifacts AS artifact ON artifact.id = asked.artifact_id
WHERE asked.model = ANY (:models) AND asked.applied_at IS NOT NULL ORDER BY asked.sequence_seen""")
_APPROVALS = text("""
SELECT asked.number, given.approver, given.roles::text AS roles, given.means
FROM unnest(CAST(:promotions AS uuid[]), CAST(:moments AS timestamptz[])) WITH ORDINALITY AS asked (promotion_id, at, number)
JOIN approvals AS given ON given.promotion_id = asked.promotion_id AND given.created_at <= asked.at AND given.expires_at > asked.at
LEFT JOIN approval_withdrawals AS gone ON gone.approval_id = given.id AND gone.created_at <= asked.at
WHERE gone.approval_id IS NULL ORDER BY asked.number, given.created_at, given.id""")


def evaluations(tx: Connection, places: Sequence[Place]) -> list[Sequence[Row]]:
    """Return the newest evaluations of each, newest first."""
    return _by_number(tx, _EVALUATIONS, places)


def judged(tx: Connection, places: Sequence[Place], digests: Sequence[str | None]) -> list[Row | None]:
    """Return of each the evaluation with this digest, None where it was not recorded."""
    return _only(_numbered(tx.execute(_JUDGED, _bound(places) | {"digests": list(digests)}).mappings(), len(places)))


def reproductions(tx: Connection, places: Sequence[Place]) -> list[Row | None]:
    """Return the newest reproduction of each."""
    return _only(_by_number(tx, _REPRODUCTIONS, places))


def scans(tx: Connection, places: Sequence[Place]) -> list[Row | None]:
    """Return the newest scan of each."""
    return _only(_by_number(tx, _SCANS, places))


def jobs(tx: Connection, ids: Collection[UUID]) -> dict[UUID, Row]:
    """Return trainings by their ids, with the envelopes of their provenances."""
    return {row["id"]: row for row in tx.execute(_JOBS, {"jobs": list(ids)}).mappings()} if ids else {}


def declared_by(job: Row) -> str | None:
    """Return who declared how a training was run; None where we ran it ourselves.

    Raises:
        EvidenceBroken: its provenance cannot be read.
    """
    return _declared_by(bytes(job["envelope"] or b""))


def standing(tx: Connection, models: Sequence[str], places: Sequence[Place]) -> list[Mapping[str, Row]]:
    """Return for each model what is, or was, current: environment -> row."""
    past = any(place.until for place in places)
    history: dict[str, dict[str, list[Row]]] = {}
    for row in tx.execute(_STOOD if past else _STANDING, {"models": sorted(set(models))}).mappings():
        history.setdefault(row["model"], {}).setdefault(row["environment"], []).append(row)
    return [_as_of(history.get(model, {}), place.until) for model, place in zip(models, places, strict=True)]


def approvals(tx: Connection, asked: Sequence[tuple[UUID, datetime]]) -> list[Sequence[Row]]:
    """Return for each promotion, at a time, the approvals that neither have expired nor were taken back."""
    bound = {"promotions": [promotion for promotion, _ in asked], "moments": [at for _, at in asked]}
    return _numbered(tx.execute(_APPROVALS, bound).mappings(), len(asked)) if asked else []


def _as_of(of_model: Mapping[str, Sequence[Row]], until: datetime | None) -> dict[str, Row]:
    if until is None:
        return {environment: rows[-1] for environment, rows in of_model.items()}
    counts = {environment: bisect_right(rows, until, key=lambda row: row["applied_at"]) for environment, rows in of_model.items()}
    return {environment: of_model[environment][count - 1] for environment, count in counts.items() if count}


def _by_number(tx: Connection, query: TextClause, places: Sequence[Place]) -> list[Sequence[Row]]:
    return _numbered(tx.execute(query, _bound(places)).mappings(), len(places)) if places else []


def _numbered(rows: Iterable[Any], count: int) -> list[Sequence[Row]]:
    found: list[list[Row]] = [[] for _ in range(count)]
    for row in rows:
        found[row["number"] - 1].append(row)
    return list(found)


def _only(found: Sequence[Sequence[Row]]) -> list[Row | None]:
    return [rows[0] if rows else None for rows in found]


def _bound(places: Sequence[Place]) -> dict[str, Any]:
    return {"artifacts": [place.artifact_id for place in places], "moments": [place.until or _EVER for place in places]}
