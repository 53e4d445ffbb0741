"""Everything the steps of one promotion look at, read in one statement: the rows, the digests of what they lean on, the envelopes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select

from aiinfra_core.domain.artifact import Artifact, Evaluation
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.errors import NotFound
from aiinfra_core.registry import bars
from aiinfra_core.registry.artifacts import FOUND_BY, artifact_from, find_row
from aiinfra_core.registry.evaluations import evaluation_from
from aiinfra_core.registry.promotions import promotion_from
from aiinfra_core.tables import attestations, environment_pointers, evaluations, model_artifacts, model_promotions, training_jobs


@dataclass(frozen=True)
class Dossier:
    """A promotion (its row, exactly as it is) with its artifact.

    `evaluation` is the one it is judged on, None while that is not recorded; `training_datasets` what its training learned from, as the
    job's exact JSON. An attestation is a digest, None where there is none; the envelopes are exact bytes. `sent_back_by` is the rollout
    that sent these bytes back in this environment, by itself and last.
    """

    row: Mapping[str, Any]
    artifact: Artifact
    training_attestation: str | None
    training_datasets: str | None
    evaluation: Evaluation | None
    registration_envelope: bytes
    manifest_envelope: bytes | None
    sent_back_by: UUID | None = None

    @cached_property
    def promotion(self) -> Promotion:
        """The promotion as a record."""
        return promotion_from(self.row)

    @property
    def input_attestations(self) -> list[str]:
        """The digests of the statements the promotion leans on: registration, training, evaluation."""
        evaluation = self.evaluation.attestation if self.evaluation else None
        return [it for it in (self.artifact.attestation, self.training_attestation, evaluation) if it]


_REGISTRATION, _MANIFEST = attestations.alias("registration"), attestations.alias("manifest_statement")
_EVALUATED = (evaluations.c.artifact_id == model_promotions.c.artifact_id) & (evaluations.c.digest == model_promotions.c.evaluation_digest)
_QUERY = (
    select(
        *(column.label(f"p_{column.name}") for column in model_promotions.c),
        *(column.label(f"a_{column.name}") for column in model_artifacts.c),
        *(column.label(f"e_{column.name}") for column in evaluations.c),
        training_jobs.c.attestation.label("training_attestation"),
        training_jobs.c.dataset_refs.label("training_datasets"),
        _REGISTRATION.c.envelope.label("registration_envelope"),
        _MANIFEST.c.envelope.label("manifest_envelope"),
        bars.barring(model_promotions.c.environment, model_promotions.c.model, model_artifacts.c.checksum).label("sent_back_by"),
    )
    .join(model_artifacts, model_artifacts.c.id == model_promotions.c.artifact_id)
    .join(_REGISTRATION, _REGISTRATION.c.digest == model_artifacts.c.attestation)
    .outerjoin(training_jobs, training_jobs.c.id == model_artifacts.c.training_job_id)
    .outerjoin(evaluations, _EVALUATED)
    .outerjoin(_MANIFEST, _MANIFEST.c.digest == model_promotions.c.manifest)
    .where(model_promotions.c.id == bindparam("promotion_id"))
)
_IS_THERE = select(model_promotions.c.id).where(model_promotions.c.id == bindparam("promotion_id"))


@dataclass(frozen=True)
class Current:
    """What stands in an environment: the pointer, and of the promotion that made it so the evaluation and the manifest.

    `rollout_id` is the rollout that is open there.
    """

    sequence: int = 0
    promotion_id: UUID | None = None
    artifact_id: UUID | None = None
    evaluation_digest: str | None = None
    manifest: str | None = None
    rollout_id: UUID | None = None


@dataclass(frozen=True)
class Candidate:
    """A registered artifact that may be promoted, what it would replace, and what else a dossier of it will hold."""

    artifact: Artifact
    replaces: Current
    training_attestation: str | None
    training_datasets: str | None
    registration_envelope: bytes
    sent_back_by: UUID | None

    def with_promotion(self, row: Mapping[str, Any], evaluation: Evaluation | None) -> Dossier:
        """Return the dossier of a promotion of it that was just asked for, to be judged on an evaluation that is recorded, or None."""
        training = self.training_attestation, self.training_datasets
        return Dossier(row, self.artifact, *training, evaluation, self.registration_envelope, None, self.sent_back_by)


_HERE, _NOW = environment_pointers.alias("here"), model_promotions.alias("now")
_CANDIDATES = {
    by: query.join(_REGISTRATION, _REGISTRATION.c.digest == model_artifacts.c.attestation)
    .outerjoin(training_jobs, training_jobs.c.id == model_artifacts.c.training_job_id)
    .outerjoin(_HERE, (_HERE.c.environment == bindparam("to_environment")) & (_HERE.c.model == model_artifacts.c.model))
    .outerjoin(_NOW, _NOW.c.id == _HERE.c.promotion_id)
    .add_columns(
        _REGISTRATION.c.envelope.label("registration_envelope"),
        training_jobs.c.attestation.label("training_attestation"),
        training_jobs.c.dataset_refs.label("training_datasets"),
        func.coalesce(_HERE.c.sequence, 0).label("now_sequence"),
        _HERE.c.promotion_id.label("now_promotion_id"),
        _HERE.c.artifact_id.label("now_artifact_id"),
        _NOW.c.evaluation_digest.label("now_evaluation_digest"),
        _NOW.c.manifest.label("now_manifest"),
        _HERE.c.rollout_id.label("now_rollout_id"),
        bars.barring(bindparam("to_environment"), model_artifacts.c.model, model_artifacts.c.checksum).label("sent_back_by"),
    )
    for by, query in FOUND_BY.items()
}


def candidate(tx: Connection, reference: str, environment: str) -> Candidate:
    """Return the artifact a person means (as `artifacts.find`), ready to be promoted to an environment.

    Raises:
        NotFound: nothing is registered under that name, or its registration is gone.
    """
    row = find_row(tx, reference, _CANDIDATES, to_environment=environment)
    envelope, training = bytes(row.pop("registration_envelope")), (row.pop("training_attestation"), row.pop("training_datasets"))
    sent_back_by = row.pop("sent_back_by")
    replaces = Current(**{name.removeprefix("now_"): row.pop(name) for name in list(row) if name.startswith("now_")})
    return Candidate(artifact_from(row), replaces, *training, envelope, sent_back_by)


def of_promotion(tx: Connection, promotion_id: UUID) -> Dossier:
    """Return what is recorded about a promotion.

    Raises:
        NotFound: there is no such promotion, or its artifact's registration is gone.
    """
    row = tx.execute(_QUERY, {"promotion_id": promotion_id}).mappings().one_or_none()
    if row is None:
        if tx.execute(_IS_THERE, {"promotion_id": promotion_id}).first() is None:
            raise NotFound(f"There is no promotion {promotion_id}; those that wait for people are shown by: aiinfra pending")
        raise NotFound(f"What promotion {promotion_id} leans on is gone; try: aiinfra verify")
    manifest, evaluation = row["manifest_envelope"], _part(row, "e_")
    return Dossier(
        row=_part(row, "p_"),
        artifact=artifact_from(_part(row, "a_")),
        training_attestation=row["training_attestation"],
        training_datasets=row["training_datasets"],
        evaluation=evaluation_from(evaluation) if evaluation["id"] else None,
        registration_envelope=bytes(row["registration_envelope"]),
        manifest_envelope=None if manifest is None else bytes(manifest),
        sent_back_by=row["sent_back_by"],
    )


def _part(row: Any, prefix: str) -> dict[str, Any]:
    return {str(name).removeprefix(prefix): value for name, value in row.items() if str(name).startswith(prefix)}
