"""Describe a registered model by what is recorded about it: gather the records and make its bill of materials.

What stands in the bill lives in `evidence.bom`.
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from aiinfra_core import artifact_store, database
from aiinfra_core.domain.artifact import Artifact, Evaluation
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.evidence import bom
from aiinfra_core.registry import artifacts, evaluations, jobs, promotions
from aiinfra_core.settings import Settings


@dataclass(frozen=True)
class Recorded:
    """What is recorded about one artifact; `promotions` are those that were applied."""

    artifact: Artifact
    job: TrainingJob | None
    evaluations: tuple[Evaluation, ...]
    promotions: tuple[Promotion, ...]


def recorded(tx: Connection, artifact: Artifact) -> Recorded:
    """Return what is recorded about an artifact."""
    return Recorded(
        artifact=artifact,
        job=jobs.get(tx, artifact.training_job_id) if artifact.training_job_id else None,
        evaluations=tuple(evaluations.of_artifact(tx, artifact.id)),
        promotions=tuple(one for one in promotions.of_artifact(tx, artifact.id) if one.applied_at is not None),
    )


def bill_of_materials(settings: Settings, known: Recorded) -> bytes:
    """Return the CycloneDX ML-BOM of an artifact; reads its `training.json` from the store, so call it outside a transaction.

    Raises:
        DigestMismatch, NotFound: the stored `training.json` is not the one that was recorded, or is gone.
        EvidenceBroken: it is not what a training writes.
        Unavailable: the artifact store cannot be reached.
    """
    return bom.bill_of_materials(
        artifact=known.artifact,
        job=known.job,
        training_record=_training_record(settings, known.job),
        evaluations=known.evaluations,
        promotions=known.promotions,
    )


def bill_of_model(settings: Settings, reference: str) -> tuple[Artifact, bytes]:
    """Return the artifact a reference means and its ML-BOM.

    Raises:
        NotFound: nothing is registered under that name, or its `training.json` is gone.
        DigestMismatch, EvidenceBroken, Unavailable: as `bill_of_materials`.
    """
    with database.snapshot(settings) as tx:
        known = recorded(tx, artifacts.find(tx, reference))
    return known.artifact, bill_of_materials(settings, known)


def _training_record(settings: Settings, job: TrainingJob | None) -> bytes | None:
    if job is None or job.training_record_uri is None or job.training_record_sha256 is None:
        return None
    place = artifact_store.location_of(settings, job.training_record_uri)
    return artifact_store.read_bytes(place, job.training_record_uri, job.training_record_sha256)
