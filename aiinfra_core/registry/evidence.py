"""For each record: the envelope that is kept for it, and the statement it has to hold.

The statement is made from the rows again, so that whoever changes a row has to explain a signature that says otherwise.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.domain.training import DatasetRef, TrainingJob
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import claims, dsse, statement
from aiinfra_core.evidence.predicates import Promotion as PromotionManifest
from aiinfra_core.registry import attestations, evaluations, jobs


@dataclass(frozen=True)
class Kept:
    """The stored envelope of a record, and the payload it must have."""

    envelope: bytes
    expected: bytes


def of_training(tx: Connection, job: TrainingJob) -> Kept:
    """Return the provenance of a completed job.

    Raises:
        BadInput: the job is not completed.
    """
    return Kept(attestations.envelope(tx, job.attestation or ""), claims.of_training(job))


def of_registration(tx: Connection, artifact: Artifact) -> Kept:
    """Return the registration of an artifact."""
    training = _job_of(tx, artifact)
    expected = claims.of_registration(artifact, training.attestation if training else None)
    return Kept(attestations.envelope(tx, artifact.attestation), expected)


def of_evaluation(tx: Connection, artifact: Artifact, evaluation: Evaluation) -> Kept:
    """Return the signed evaluation of an artifact."""
    expected = claims.of_evaluation(artifact, evaluation, datasets_of(tx, artifact, evaluation.kind))
    return Kept(attestations.envelope(tx, evaluation.attestation or ""), expected)


def of_promotion(tx: Connection, promotion: Promotion, artifact: Artifact) -> Kept:
    """Return the manifest of an approved promotion.

    Raises:
        EvidenceBroken: what is kept is no manifest.
        BadInput: the gate said no.
    """
    envelope = attestations.envelope(tx, promotion.manifest or "")
    manifest = statement.parse(dsse.parse(envelope).payload).predicate
    if not isinstance(manifest, PromotionManifest):
        raise EvidenceBroken("predicate type", "the promotion's attestation is not a promotion manifest.")
    verified_at = datetime.fromisoformat(manifest.time_verified)
    return Kept(envelope, claims.of_promotion(promotion, artifact, inputs_of(tx, promotion, artifact), verified_at))


def inputs_of(tx: Connection, promotion: Promotion, artifact: Artifact) -> list[str]:
    """Return the digests of the statements a promotion leans on: registration, training, evaluation.

    Raises:
        BadInput: the evaluation it was judged on is not kept.
    """
    training = _job_of(tx, artifact)
    inputs = [artifact.attestation, training.attestation if training else None]
    if promotion.evaluation_digest is not None:
        evaluation = evaluations.by_digest(tx, artifact.id, promotion.evaluation_digest)
        if evaluation is None:
            raise BadInput(f"The evaluation that promotion {promotion.id} was judged on is not kept.")
        inputs.append(evaluation.attestation)
    return [digest for digest in inputs if digest]


def datasets_of(tx: Connection, artifact: Artifact, kind: EvaluationKind) -> tuple[DatasetRef, ...]:
    """Return the datasets an evaluation was measured on; none for a claim."""
    job = _job_of(tx, artifact) if kind is EvaluationKind.MEASURED else None
    return job.spec.dataset_refs if job else ()


def _job_of(tx: Connection, artifact: Artifact) -> TrainingJob | None:
    return None if artifact.training_job_id is None else jobs.get(tx, artifact.training_job_id)
