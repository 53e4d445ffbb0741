"""Artifacts whose bytes were removed, and which ones nobody may use any more. The bytes themselves are removed elsewhere.

A promotion locks the row of its model as it is asked for (its foreign key does), and `bury` locks it against that: whichever comes first
is seen by the other. A registration of whatever model holds a lock that `bury` takes alone, and is refused where bytes were removed
(both in the trigger `not_pruned`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, select, text

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.domain.artifact import Artifact, DigestKind
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.tombstone import RetentionRule, Tombstone
from aiinfra_core.errors import ArtifactMissing, Conflict
from aiinfra_core.evidence import claims
from aiinfra_core.registry import attestations
from aiinfra_core.registry.artifacts import artifact_from
from aiinfra_core.registry.evidence import Kept
from aiinfra_core.registry.rows import every, first, insert_row
from aiinfra_core.tables import artifact_tombstones, model_artifacts, models

# What nobody may use any more under a rule: old, not among the newest versions, not current nor lately current, not being promoted.
_FREE = """
WITH targets AS (
  SELECT artifact_id FROM (
    SELECT applied.artifact_id, row_number() OVER (PARTITION BY environment, model ORDER BY max(applied.sequence_seen) DESC) AS place
    FROM environment_pointers JOIN model_promotions AS applied USING (environment, model)
    WHERE applied.applied_at IS NOT NULL AND (CAST(:of_models AS text[]) IS NULL OR model = ANY (CAST(:of_models AS text[])))
    GROUP BY environment, model, applied.artifact_id
  ) AS ranked WHERE place <= :rollback_targets
), free AS MATERIALIZED (
  SELECT artifact.id, artifact.model, artifact.version, artifact.artifact_uri, artifact.digest_kind, artifact.checksum,
    artifact.size_bytes, artifact.created_at
  FROM model_artifacts AS artifact JOIN models ON models.name = artifact.model
  WHERE (CAST(:of_models AS text[]) IS NULL OR artifact.model = ANY (CAST(:of_models AS text[])))
    AND artifact.created_at < :before AND models.last_version - artifact.version >= :keep_last
    AND artifact.id NOT IN (SELECT artifact_id FROM targets)
    AND NOT EXISTS (SELECT FROM environment_pointers AS pointer WHERE pointer.artifact_id = artifact.id)
    AND NOT EXISTS (SELECT FROM artifact_tombstones AS tombstone WHERE tombstone.artifact_id = artifact.id)
    AND NOT EXISTS (SELECT FROM model_promotions AS asked WHERE asked.artifact_id = artifact.id
                    AND asked.status IN ('requested', 'pending_approval', 'approved', 'rolling_out'))
)"""
_KEPT_TOO = """
  SELECT FROM model_artifacts AS other LEFT JOIN artifact_tombstones AS tombstone ON tombstone.artifact_id = other.id
  WHERE other.artifact_uri = free.artifact_uri AND tombstone.artifact_id IS NULL AND other.id NOT IN (SELECT id FROM free)"""
_NESTED = """, inside AS (
  SELECT DISTINCT artifact_uri, array_to_string((string_to_array(artifact_uri, '/'))[1:parts], '/') AS above
  FROM model_artifacts, generate_series(4, cardinality(string_to_array(artifact_uri, '/')) - 1) AS parts
)"""
_NOT_NESTED = """
  AND artifact_uri NOT IN (SELECT above FROM inside)
  AND artifact_uri NOT IN (SELECT inside.artifact_uri FROM inside JOIN model_artifacts AS holder ON holder.artifact_uri = inside.above)
ORDER BY created_at, id"""
_NEAR = """
  AND NOT EXISTS (SELECT FROM model_artifacts AS near
                  WHERE near.artifact_uri ~>=~ (free.artifact_uri || '/') AND near.artifact_uri ~<~ (free.artifact_uri || '0'))
  AND NOT EXISTS (SELECT FROM model_artifacts AS near WHERE near.artifact_uri = ANY (ARRAY(
    SELECT array_to_string((string_to_array(free.artifact_uri, '/'))[1:part], '/')
    FROM generate_series(4, cardinality(string_to_array(free.artifact_uri, '/')) - 1) AS part)))"""
_NO_RECORD = """
  AND NOT EXISTS (SELECT FROM training_jobs AS job WHERE job.training_record_uri = {0}.artifact_uri)
  AND NOT EXISTS (SELECT FROM training_jobs AS job WHERE job.log_uri = {0}.artifact_uri)"""
# Bytes that somebody else's artifact shares, holds or lies in stay, and so do records of trainings.
_PLAN = text("".join((_FREE, _NESTED, "SELECT * FROM free WHERE NOT EXISTS (", _KEPT_TOO, ")", _NO_RECORD.format("free"), _NOT_NESTED)))
_STILL = text(
    "".join((_FREE, "SELECT id FROM free WHERE id = ANY (:artifacts) AND NOT EXISTS (", _KEPT_TOO, ")", _NO_RECORD.format("free"), _NEAR))
)
_LOCK_PLACES = text("SELECT pg_advisory_xact_lock(hashtext('artifact_tombstones'))")
_LOCK = select(models.c.name).where(models.c.name == bindparam("model")).with_for_update()
_UNUSED = """
SELECT buried.id FROM artifact_tombstones JOIN model_artifacts AS buried ON buried.id = artifact_tombstones.artifact_id
WHERE NOT EXISTS (
  SELECT FROM model_artifacts AS other LEFT JOIN artifact_tombstones AS tombstone ON tombstone.artifact_id = other.id
  WHERE other.artifact_uri = buried.artifact_uri AND tombstone.artifact_id IS NULL)"""
_ALL_UNUSED = text(_UNUSED + _NO_RECORD.format("buried") + " ORDER BY artifact_tombstones.created_at, buried.id")
_WAS_PRUNED = text("SELECT was_pruned(:place)")


@dataclass(frozen=True)
class Free:
    """An artifact nobody may use any more."""

    id: UUID
    model: str
    version: int
    artifact_uri: str
    digest_kind: DigestKind
    checksum: str
    size_bytes: int
    created_at: datetime


def free(tx: Connection, rule: RetentionRule, at: datetime, model: str | None) -> list[Free]:
    """Return what nobody may use any more, oldest first, of one model or all; what shares its bytes with what is kept is not free."""
    rows = tx.execute(_PLAN, _bound(rule, at, None if model is None else [model])).mappings()
    return [Free(**{**row, "digest_kind": DigestKind(row["digest_kind"])}) for row in rows]


def bury(tx: Connection, signed: Sequence[tuple[Artifact, Tombstone, Attestation]], rule: RetentionRule, at: datetime) -> bool:
    """Record the tombstones of artifacts that share their bytes, all or none; return whether nobody wants any of them now.

    Promotions that are asked for at this moment are waited for, and wait: the rows of the models are locked. So are registrations, of any
    model: their lock is the last one that is taken, as it is for them.
    """
    named = sorted({artifact.model for artifact, _, _ in signed})
    for model in named:
        tx.execute(_LOCK, {"model": model})
    tx.execute(_LOCK_PLACES)
    ids = [artifact.id for artifact, _, _ in signed]
    still = set(tx.execute(_STILL, {**_bound(rule, at, named), "artifacts": ids}).scalars())
    if still != set(ids):
        return False
    for artifact, tombstone, attestation in signed:
        _bury(tx, artifact, tombstone, attestation)
    return True


def _bury(tx: Connection, artifact: Artifact, tombstone: Tombstone, attestation: Attestation) -> None:
    at = tombstone.created_at
    statement = attestations.keep(tx, attestation, at)
    rule = canonical_json.dumps(tombstone.rule.model_dump(by_alias=True)).decode()
    row = insert_row(
        tx,
        artifact_tombstones,
        artifact_id=artifact.id,
        reason=tombstone.reason,
        rule=rule,
        attestation=attestation.digest,
        pruned_by=tombstone.pruned_by,
        created_at=at,
    )
    told = event(
        "artifact.pruned",
        at=at,
        actor=tombstone.pruned_by,
        request_id=f"prune:{artifact.id}",
        subject=str(artifact.id),
        rows={"artifact_tombstones": row, "attestations": statement},
        digests={"artifact": artifact.checksum, "tombstone": attestation.digest},
    )
    append(tx, told)


def unused(connection: Connection) -> list[UUID]:
    """Return the artifacts with a tombstone whose bytes no artifact without one has, oldest tombstone first."""
    return list(connection.execute(_ALL_UNUSED).scalars())


def refuse_place(connection: Connection, uri: str) -> None:
    """See that no bytes were removed from a place, from one it lies in, or from one in it.

    Raises:
        Conflict: some were; nothing is registered there again.
    """
    if connection.execute(_WAS_PRUNED, {"place": uri}).scalar_one():
        raise pruned_place(uri)


def pruned_place(uri: str) -> Conflict:
    """Return what is said to whoever registers something where bytes were removed."""
    return Conflict(
        f"Bytes were removed from {uri} for good, and a tombstone says so; store these under another key and register them there."
    )


def of_artifact(connection: Connection, artifact_id: UUID) -> Tombstone | None:
    """Return the tombstone of an artifact, or None."""
    row = first(connection, select(artifact_tombstones).where(artifact_tombstones.c.artifact_id == artifact_id))
    return None if row is None else _tombstone(row)


def refuse_pruned(connection: Connection, artifact: Artifact) -> None:
    """See that an artifact's bytes were not removed for good.

    Raises:
        ArtifactMissing: they were; the message says by whom and why.
    """
    tombstone = of_artifact(connection, artifact.id)
    if tombstone is not None:
        raise ArtifactMissing(f"{artifact.model}:{artifact.version} was pruned: {in_words(tombstone)}. Take another version.")


def in_words(tombstone: Tombstone) -> str:
    """Return what a tombstone says in one line."""
    return f"bytes removed {tombstone.created_at:%Y-%m-%d} by {tombstone.pruned_by} ({tombstone.reason}), tombstone {tombstone.attestation}"


def artifacts_of(tx: Connection, ids: Sequence[UUID]) -> list[Artifact]:
    """Return artifacts by their ids, by model and version."""
    query = select(model_artifacts).where(model_artifacts.c.id.in_(ids)).order_by(model_artifacts.c.model, model_artifacts.c.version)
    return [artifact_from(row) for row in every(tx, query)]


def kept(connection: Connection, tombstone: Tombstone, artifact: Artifact) -> Kept:
    """Return the signed statement of a tombstone, and the payload it must have.

    Raises:
        NotFound: the statement is gone.
    """
    return Kept(attestations.envelope(connection, tombstone.attestation or ""), claims.of_tombstone(tombstone, artifact))


def _bound(rule: RetentionRule, at: datetime, of_models: Sequence[str] | None) -> dict[str, Any]:
    return {
        "of_models": of_models,
        "before": at - timedelta(days=rule.older_than_days),
        "keep_last": rule.keep_last,
        "rollback_targets": rule.rollback_targets,
    }


def _tombstone(row: Mapping[str, Any]) -> Tombstone:
    return Tombstone(**{**row, "rule": canonical_json.loads(row["rule"])})
