"""Jobs, artifacts, promotions and cards as they are sent."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field

from aiinfra_core.domain.artifact import Artifact, EvaluationKind
from aiinfra_core.domain.card import Card
from aiinfra_core.domain.promotion import Decision, Promotion
from aiinfra_core.domain.record import Record
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.domain.training import DatasetRef, TrainingJob, TrainingSpec


class Sent(Record):
    """A record as it is sent; a reader takes no notice of fields it does not know, so that a newer service may add some."""

    model_config = ConfigDict(extra="ignore")


class SentJob(Sent):
    """A training job."""

    id: UUID
    model: str
    code_ref: str
    container_digest: str
    entry_point: str | None
    hyperparams: dict[str, Any]
    dataset_refs: tuple[DatasetRef, ...]
    seed: int
    status: str
    requested_by: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    error: str | None
    artifact_uri: str | None
    checksum: str | None
    metrics: dict[str, Any] | None
    attestation: str | None
    log_uri: str | None
    digest_kind: str | None
    size_bytes: int | None
    training_record_sha256: str | None
    training_record_uri: str | None
    request_id: str
    flow_run_id: UUID | None = Field(default=None, description="The Prefect run that does it, if one does.")


class SentArtifact(Sent):
    """A registered version of a model; `provenance` says whether a recorded training made it."""

    id: UUID
    training_job_id: UUID | None
    artifact_uri: str
    checksum: str
    metadata: dict[str, Any]
    signer_id: str
    signature: str
    manifest_signature_id: str | None
    created_at: datetime
    model: str
    version: int
    digest_kind: str
    size_bytes: int
    attestation: str
    registered_by: str
    provenance: str = Field(
        description="`trained`: a recorded job made it (its attestation names an executor that declared it), or `no provenance`."
    )


class SentConditions(Sent):
    """What else a yes of the local policy asks for: so many people of each role, in time, and none of them who had one of these parts."""

    approvals: dict[str, int]
    pending_hours: float
    approval_hours: float
    approver_is_not: tuple[str, ...]


class SentDecision(Sent):
    """What the gate said."""

    allowed: bool
    policy_id: str | None
    reason: str
    source: str | None = None
    policy_version: str | None = None
    rule_id: str | None = None
    decision: str | None = None
    policy_digest: str | None = None
    unavailable: bool = False
    answer: dict[str, Any] | None = None
    conditions: SentConditions | None = None


class SentSteps(Sent):
    """By what a promotion earns its traffic; all of it is in the `spec` of its rollout."""

    weights: tuple[float, ...] = Field(description="Its shares in per cent, step by step.")
    unit: str
    spec_digest: str


class SentRollback(Sent):
    """Why a promotion goes back, and from which promotion."""

    reason: str
    replaces: UUID


class SentPromotion(Sent):
    """A promotion and how it ended; `sequence` is the one its manifest is for, `approvalsRequired` says whom it waits for or waited."""

    id: UUID
    artifact_id: UUID
    environment: str
    status: str
    evaluation: dict[str, Any]
    sentinel_decision: SentDecision | None
    promoted_by: str
    promoted_at: datetime | None
    signature: str | None
    signer_id: str | None
    created_at: datetime
    model: str
    evaluation_kind: EvaluationKind | None
    reason: str | None
    sequence: int
    manifest: str | None
    follows: str | None
    updated_at: datetime
    request_id: str
    approvals_required: dict[str, int] | None = Field(default=None, description="Role: how many people have to agree in it.")
    pending_until: datetime | None = Field(default=None, description="How long it waits for them.")
    rollout: SentSteps | None = Field(default=None, description="How it earns its traffic; null for all at once.")
    rollback: SentRollback | None = Field(default=None, description="Why it goes back, if it does.")
    overrides: UUID | None = Field(default=None, description="The rollout that had sent the same bytes back, where that was overridden.")


class SentModel(Sent):
    """An artifact and what became of it, newest promotion first."""

    artifact: SentArtifact
    promotions: tuple[SentPromotion, ...] = Field(description="The newest, 200 and 4 MB at most.")
    promotions_truncated: bool = Field(
        default=False, description="Whether there are more promotions than these; `/ai-infra/promotions?artifactId=` lists all of them."
    )


def sent_job(job: TrainingJob, flow_run_id: UUID | None = None) -> SentJob:
    """Return a job as it is sent."""
    own = {name: getattr(job, name) for name in SentJob.model_fields if name in TrainingJob.model_fields}
    spec = {name: getattr(job.spec, name) for name in TrainingSpec.model_fields}
    return SentJob.model_construct(**own, **spec, flow_run_id=flow_run_id)


def sent_artifact(artifact: Artifact) -> SentArtifact:
    """Return an artifact as it is sent."""
    own = {name: getattr(artifact, name) for name in Artifact.model_fields}
    return SentArtifact.model_construct(**own, provenance="trained" if artifact.training_job_id else "no provenance")


def sent_promotion(promotion: Promotion) -> SentPromotion:
    """Return a promotion as it is sent."""
    own = {name: getattr(promotion, name) for name in SentPromotion.model_fields if name in Promotion.model_fields}
    own |= {
        "rollout": promotion.rollout and _sent_steps(promotion.rollout),
        "rollback": promotion.rollback and _sent_rollback(promotion.rollback),
    }
    return SentPromotion.model_construct(
        **own,
        sentinel_decision=None if promotion.decision is None else _sent_decision(promotion.decision),
        promoted_by=promotion.requested_by,
        promoted_at=promotion.applied_at,
        sequence=promotion.sequence_seen + 1,
    )


def _sent_steps(spec: RolloutSpec) -> SentSteps:
    return SentSteps.model_construct(weights=spec.weights, unit=spec.unit.value, spec_digest=spec.digest())


def _sent_rollback(rollback: Rollback) -> SentRollback:
    return SentRollback.model_construct(reason=rollback.reason, replaces=rollback.replaces)


def _sent_decision(decision: Decision) -> SentDecision:
    conditions = None if decision.conditions is None else SentConditions.model_construct(**dict(decision.conditions))
    return SentDecision.model_construct(**dict(decision) | {"conditions": conditions})


class SentCard(Sent):
    """What people say about a model, or about a version of it; `card` is Markdown, as text."""

    id: UUID
    model: str
    version: int | None
    revision: int = Field(description="How many cards were written about the same, this one included; its ETag.")
    description: str
    tags: dict[str, str]
    card: str
    written_by: str
    created_at: datetime


def sent_card(card: Card) -> SentCard:
    """Return a card as it is sent."""
    return SentCard.model_construct(**{name: getattr(card, name) for name in SentCard.model_fields})
