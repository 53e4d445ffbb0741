"""Promotions: what is asked, what the gate said, how it ended, and which moves a status may make."""

import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import EvaluationKind
from aiinfra_core.domain.record import MAX_JSON_DEPTH, Actor, JsonObject, Name, Record, RequestId, Sha256
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.domain.rollout_spec import RolloutSpec


class Part(StrEnum):
    """Who somebody was in the way of a model; duties are kept apart by these."""

    TRAINER = "trainer"
    REGISTRAR = "registrar"
    EVALUATOR = "evaluator"
    REQUESTER = "requester"


class Stage(StrEnum):
    """When a gate is asked: for each promotion once, and again before one that waited for people is applied."""

    REQUEST = "request"
    APPLY = "apply"


class PromotionStatus(StrEnum):
    """Where a promotion stands."""

    REQUESTED = "requested"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    ROLLING_OUT = "rolling_out"
    APPLIED = "applied"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    REMEDIATION = "remediation"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"


REFUSED = frozenset({PromotionStatus.REJECTED, PromotionStatus.QUARANTINED, PromotionStatus.REMEDIATION})
"""A gate's no: a plain one, the artifact is to be kept away from everything, or something about it is to be mended first."""
ALLOWED_MOVES: dict[PromotionStatus, frozenset[PromotionStatus]] = {
    PromotionStatus.REQUESTED: frozenset(
        {PromotionStatus.PENDING_APPROVAL, PromotionStatus.APPROVED, PromotionStatus.SUPERSEDED, *REFUSED}
    ),
    PromotionStatus.PENDING_APPROVAL: frozenset({PromotionStatus.APPROVED, PromotionStatus.EXPIRED, PromotionStatus.SUPERSEDED, *REFUSED}),
    PromotionStatus.APPROVED: frozenset(
        {
            PromotionStatus.ROLLING_OUT,
            PromotionStatus.APPLIED,
            PromotionStatus.REJECTED,
            PromotionStatus.EXPIRED,
            PromotionStatus.SUPERSEDED,
        }
    ),
    PromotionStatus.ROLLING_OUT: frozenset(
        {
            PromotionStatus.APPLIED,
            PromotionStatus.ROLLED_BACK,
            PromotionStatus.REJECTED,
            PromotionStatus.EXPIRED,
            PromotionStatus.SUPERSEDED,
        }
    ),
    PromotionStatus.APPLIED: frozenset({PromotionStatus.ROLLED_BACK}),
    PromotionStatus.REJECTED: frozenset(),
    PromotionStatus.QUARANTINED: frozenset(),
    PromotionStatus.REMEDIATION: frozenset(),
    PromotionStatus.EXPIRED: frozenset(),
    PromotionStatus.SUPERSEDED: frozenset(),
    PromotionStatus.ROLLED_BACK: frozenset(),
}


def _spell_non_finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, dict) and canonical_json.depth(value) <= MAX_JSON_DEPTH:
        return {key: _spell_non_finite(item) for key, item in value.items()}
    return value


class PromotionRequest(Record):
    """Ask to make one registered artifact current in an environment.

    `artifact` is an artifact id, `MODEL`, `MODEL:VERSION` or `MODEL@ENVIRONMENT`. It is judged on the recorded
    evaluation that `judged_on` names, else on the newest that was run for it, else on what its training measured; an `evaluation` that is
    claimed here is judged instead, kept and labelled as claimed. NaN and infinities, which JSON does not
    have, are kept as the texts "NaN", "Infinity" and "-Infinity", so that the refusal they get is recorded.
    """

    artifact: str = Field(description="An artifact id, `MODEL`, `MODEL:VERSION` or `MODEL@ENVIRONMENT`.")
    environment: str = Field(description="Where it is to become current.")
    evaluation: Annotated[JsonObject, BeforeValidator(_spell_non_finite)] | None = Field(
        default=None, description="Scores you claim, such as `quality`; without them, what was measured is judged."
    )
    judged_on: Sha256 | None = Field(
        default=None, description="Digest of the recorded evaluation to judge; without it, the newest measured."
    )
    requested_by: Actor = Field(description="Who asks for it.")
    request_id: RequestId | None = Field(default=None, description="Your own name for this request; the same one is done once.")
    sequence_seen: int | None = Field(
        default=None, ge=0, description="Sequence of what you saw to be current, 0 for nothing; if it has changed, nothing is done."
    )
    rollout: RolloutSpec | None = Field(
        default=None, description="How it is to earn its traffic; without it, the environment's own way, or all at once."
    )
    overrides: UUID | None = Field(default=None, description="The rollout that sent these bytes back, where they are to be tried again.")


class Conditions(Record):
    """What else a yes of the local policy asks for: so many owners of each role, in time, and none of them `approver_is_not`."""

    approvals: dict[Name, Annotated[int, Field(ge=1, le=100)]] = Field(default_factory=dict)
    pending_hours: float = Field(default=72, gt=0, le=8784, allow_inf_nan=False)
    approval_hours: float = Field(default=168, gt=0, le=8784, allow_inf_nan=False)
    approver_is_not: tuple[Part, ...] = ()


class Decision(Record):
    """What a gate said, whole: `answer` is the body as it came, `source` who gave it.

    `unavailable` is true when no answer could be had; `allowed` is then false. `conditions` come from the local policy alone.
    """

    allowed: bool
    policy_id: str | None
    reason: str
    source: str
    policy_version: str | None = None
    rule_id: str | None = None
    decision: str | None = None
    policy_digest: Sha256 | None = None
    unavailable: bool = False
    answer: dict[str, Any] | None = None
    conditions: Conditions | None = None


class Promotion(Record):
    """One promotion and everything decided about it; `asked_by` is who asked in the requester's name, None where they did themselves."""

    id: UUID
    request_id: str
    artifact_id: UUID
    model: Name
    environment: Name
    status: PromotionStatus
    evaluation: dict[str, Any]
    evaluation_kind: EvaluationKind | None
    evaluation_digest: Sha256 | None
    sequence_seen: int
    decision: Decision | None
    reason: str | None
    requested_by: Actor
    manifest: Sha256 | None
    signature: str | None
    signer_id: str | None
    follows: Sha256 | None
    created_at: datetime
    updated_at: datetime
    applied_at: datetime | None
    approvals_required: dict[str, int] | None = None
    pending_until: datetime | None = None
    asked_by: Actor | None = None
    rollout: RolloutSpec | None = None
    rollback: Rollback | None = None
    overrides: UUID | None = None


def awaited(promotion: Promotion) -> str:
    """Return whom a promotion waits for, and until when, in words."""
    needed = ", ".join(f"{count} as {role}" for role, count in sorted((promotion.approvals_required or {}).items())) or "nobody"
    return f"{needed} until {promotion.pending_until:%Y-%m-%d %H:%M} UTC" if promotion.pending_until else needed


def standing(promotion: Promotion) -> str | None:
    """Return why a promotion ended as it did; of one that goes on what it still needs, and where to look at it."""
    if promotion.status is PromotionStatus.PENDING_APPROVAL:
        return f"it needs {awaited(promotion)}; look at it with: aiinfra approve {promotion.id}"
    if promotion.status is PromotionStatus.ROLLING_OUT:
        return f"it earns its traffic; look at it with: aiinfra rollout show {promotion.model}@{promotion.environment}"
    return promotion.reason


class Pointer(Record):
    """What is current for a model in an environment; `sequence` rises by one with each change of that.

    `rollout_id` is the rollout that is open there; `changes` how often traffic was changed since, None for never.
    """

    environment: Name
    model: Name
    sequence: int
    promotion_id: UUID
    artifact_id: UUID
    updated_at: datetime
    rollout_id: UUID | None = None
    changes: int | None = None
