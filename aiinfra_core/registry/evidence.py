"""For each record: the envelope that is kept for it, and the statement it has to hold.

The statement is made from the rows again, so that whoever changes a row has to explain a signature that says otherwise.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind
from aiinfra_core.domain.training import DatasetRef, TrainingJob
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import claims, dsse, statement
from aiinfra_core.evidence.predicates import Promotion as PromotionManifest
from aiinfra_core.registry import attestations, jobs
from aiinfra_core.registry.dossier import Dossier


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


def of_promotion(known: Dossier) -> Kept:
    """Return the manifest of an approved promotion.

    Raises:
        EvidenceBroken: there is no manifest, or what is kept is none.
        BadInput: the gate said no.
    """
    if known.manifest_envelope is None:
        raise EvidenceBroken("envelope", f"promotion {known.promotion.id} has no manifest.")
    manifest = statement.parse(dsse.parse(known.manifest_envelope).payload).predicate
    if not isinstance(manifest, PromotionManifest):
        raise EvidenceBroken("predicate type", "the promotion's attestation is not a promotion manifest.")
    verified_at = datetime.fromisoformat(manifest.time_verified)
    return Kept(known.manifest_envelope, claims.of_promotion(known.promotion, known.artifact, known.input_attestations, verified_at))


def datasets_of(tx: Connection, artifact: Artifact, kind: EvaluationKind) -> tuple[DatasetRef, ...]:
    """Return the datasets an evaluation was measured on; none for a claim."""
    job = _job_of(tx, artifact) if kind is EvaluationKind.MEASURED else None
    return job.spec.dataset_refs if job else ()


def _job_of(tx: Connection, artifact: Artifact) -> TrainingJob | None:
    return None if artifact.training_job_id is None else jobs.get(tx, artifact.training_job_id)
