"""Who had which part in a model's way to a promotion: what keeping duties apart is about."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from aiinfra_core.domain.promotion import Part
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.tables import evaluations, training_jobs

_TRAINER = select(training_jobs.c.requested_by).where(training_jobs.c.id == bindparam("job"))
_EVALUATORS = select(evaluations.c.recorded_by).where(evaluations.c.artifact_id == bindparam("artifact")).distinct()
_EVALUATORS_THEN = _EVALUATORS.where(evaluations.c.created_at < bindparam("until"))


def of_promotion(tx: Connection, known: Dossier, until: datetime | None = None) -> Mapping[Part, frozenset[str]]:
    """Return who asked for the training, registered, recorded an evaluation of the artifact (until then), and asked for the promotion."""
    artifact = known.artifact
    evaluators = tx.execute(_EVALUATORS_THEN if until else _EVALUATORS, {"artifact": artifact.id, **({"until": until} if until else {})})
    trainers = tx.execute(_TRAINER, {"job": artifact.training_job_id}).scalars() if artifact.training_job_id else ()
    return {
        Part.TRAINER: frozenset(trainers),
        Part.REGISTRAR: frozenset({artifact.registered_by}),
        Part.EVALUATOR: frozenset(evaluators.scalars()),
        Part.REQUESTER: frozenset({known.promotion.requested_by}),
    }
