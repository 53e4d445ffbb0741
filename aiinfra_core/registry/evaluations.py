"""How artifacts scored: measured by the pipeline, or claimed by a caller and labelled so."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.registry import attestations
from aiinfra_core.registry.rows import every, first, full_row
from aiinfra_core.registry.writes import inserted, inserted_if_new, told, values
from aiinfra_core.tables import attestations as attestations_table
from aiinfra_core.tables import evaluations

_BY_DIGEST = select(evaluations).where(evaluations.c.artifact_id == bindparam("artifact"), evaluations.c.digest == bindparam("digest"))
_BY_SPEC = select(evaluations).where(evaluations.c.artifact_id == bindparam("artifact"), evaluations.c.spec_digest == bindparam("spec"))
_NEWEST_MEASURED = (
    select(evaluations)
    .where(evaluations.c.artifact_id == bindparam("artifact"), evaluations.c.kind == EvaluationKind.MEASURED)
    .order_by(evaluations.c.spec_digest.is_(None), evaluations.c.created_at.desc(), evaluations.c.id.desc())
    .limit(1)
)
_RECORD = told(inserted(attestations_table, inserted_if_new(evaluations)))


def record(connection: Connection, artifact: Artifact, evaluation: Evaluation, attestation: Attestation) -> Evaluation:
    """Keep a signed evaluation; the same one (by digest, or of the same spec) is kept once, the first time it came."""
    at = evaluation.created_at
    text = canonical_json.dumps(evaluation.metrics).decode()
    spec = None if evaluation.spec is None else canonical_json.dumps(evaluation.spec).decode()
    row = full_row(evaluations, **{**evaluation.model_dump(), "metrics": text, "spec": spec, "attestation": attestation.digest})
    statement = attestations.row_of(attestation, at)
    tell = event(
        "evaluation.recorded",
        at=at,
        actor=evaluation.recorded_by,
        request_id=f"evaluate:{evaluation.digest}",
        subject=str(artifact.id),
        rows={"evaluations": row, "attestations": statement},
        digests={"evaluation": evaluation.digest, "statement": attestation.digest},
    )
    done = first(connection, _RECORD, values("evaluations", row) | values("attestations", statement) | values("event", tell))
    return evaluation_from(row) if done else _kept(connection, artifact.id, evaluation) or evaluation


def by_digest(tx: Connection, artifact_id: UUID, digest: str) -> Evaluation | None:
    """Return the evaluation of an artifact with this digest, if it is recorded."""
    return _or_none(first(tx, _BY_DIGEST, {"artifact": artifact_id, "digest": digest}))


def by_spec(tx: Connection, artifact_id: UUID, spec_digest: str) -> Evaluation | None:
    """Return what was measured on an artifact by the evaluation spec of this digest, if it was."""
    return _or_none(first(tx, _BY_SPEC, {"artifact": artifact_id, "spec": spec_digest}))


def newest_measured(tx: Connection, artifact_id: UUID) -> Evaluation | None:
    """Return the newest evaluation that was run on an artifact, else what its own training measured, if there is either."""
    return _or_none(first(tx, _NEWEST_MEASURED, {"artifact": artifact_id}))


def of_artifact(tx: Connection, artifact_id: UUID) -> list[Evaluation]:
    """Return the evaluations of an artifact, oldest first."""
    query = select(evaluations).where(evaluations.c.artifact_id == artifact_id).order_by(evaluations.c.created_at, evaluations.c.id)
    return [evaluation_from(row) for row in every(tx, query)]


def _kept(tx: Connection, artifact_id: UUID, evaluation: Evaluation) -> Evaluation | None:
    if evaluation.spec_digest is not None:
        return by_spec(tx, artifact_id, evaluation.spec_digest)
    return by_digest(tx, artifact_id, evaluation.digest)


def _or_none(row: Mapping[str, Any] | None) -> Evaluation | None:
    return None if row is None else evaluation_from(row)


def evaluation_from(row: Mapping[str, Any]) -> Evaluation:
    """Return the record of a row."""
    spec = None if row["spec"] is None else canonical_json.loads(row["spec"])
    return Evaluation(**{**row, "metrics": canonical_json.loads(row["metrics"]), "spec": spec})
