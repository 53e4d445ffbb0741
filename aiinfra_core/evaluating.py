"""Evaluations: measured by the training that made the artifact, or claimed by whoever asks for a promotion.

What the metrics have to be is the gate's business (`policy`).
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection

from aiinfra_core import canonical_json, checksums, database
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind, JudgedEvaluation
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import configured_signer
from aiinfra_core.registry import artifacts, evaluations, evidence, jobs
from aiinfra_core.settings import Settings


def record_measured(settings: Settings, artifact_id: UUID) -> Evaluation | None:
    """Sign and keep the metrics that the artifact's own training measured; asked again, return the kept ones.

    What an executor that is not ours says its training measured is kept as that executor's claim. None where it was registered without a
    training job, or its training measured nothing: the gate will find no score.

    Raises:
        NotFound: there is no such artifact.
    """
    with database.transaction(settings) as tx:
        artifact = artifacts.get(tx, artifact_id)
        job = None if artifact.training_job_id is None else jobs.get(tx, artifact.training_job_id)
        if job is None or not job.metrics:
            return None
        declared_by = evidence.executor_of(tx, job)
    kind = EvaluationKind.MEASURED if declared_by is None else EvaluationKind.CLAIMED
    evaluation = _record(settings, artifact, judged(artifact, kind, job.metrics), declared_by or artifact.registered_by)
    keep_up(settings)
    return evaluation


def evaluation_to_judge(tx: Connection, artifact: Artifact, claimed: dict[str, Any] | None) -> JudgedEvaluation | None:
    """Return what a promotion will be judged on: the caller's claim, else the newest measured evaluation, else None."""
    if claimed is not None:
        return judged(artifact, EvaluationKind.CLAIMED, claimed)
    measured = evaluations.newest_measured(tx, artifact.id)
    if measured is None:
        return None
    return JudgedEvaluation(**measured.model_dump(include=set(JudgedEvaluation.model_fields)))


def record_judged(settings: Settings, promotion: Promotion, artifact: Artifact) -> Evaluation:
    """Sign and keep the evaluation a promotion was judged on.

    Raises:
        BadInput: it was judged on none.
    """
    if promotion.evaluation_kind is None:
        raise BadInput(f"Promotion {promotion.id} was judged on no evaluation.")
    evaluation = judged(artifact, promotion.evaluation_kind, promotion.evaluation)
    return _record(settings, artifact, evaluation, promotion.requested_by)


def judged(artifact: Artifact, kind: EvaluationKind, metrics: dict[str, Any]) -> JudgedEvaluation:
    """Return an evaluation with its digest, which covers artifact, kind and metrics."""
    identity = {"artifact": artifact.checksum, "artifactId": str(artifact.id), "kind": kind, "metrics": metrics}
    return JudgedEvaluation(kind=kind, metrics=metrics, digest=checksums.sha256_hex(canonical_json.dumps(identity)))


def _record(settings: Settings, artifact: Artifact, evaluation: JudgedEvaluation, recorded_by: str) -> Evaluation:
    with database.autocommit(settings) as connection:
        if kept := evaluations.by_digest(connection, artifact.id, evaluation.digest):
            return kept
        datasets = evidence.datasets_of(connection, artifact, evaluation.kind)
    unsigned = Evaluation(
        id=uuid4(),
        artifact_id=artifact.id,
        recorded_by=recorded_by,
        created_at=datetime.now(UTC),
        **evaluation.model_dump(),
    )
    statement = attest(claims.of_evaluation(artifact, unsigned, datasets), configured_signer(settings, Purpose.EVALUATION))
    with database.autocommit(settings) as connection:
        return evaluations.record(connection, artifact, unsigned, statement)
