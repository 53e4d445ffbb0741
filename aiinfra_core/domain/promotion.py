"""Promotions: what is asked, what the gate said, how it ended, and which moves a status may make."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from aiinfra_core.domain.record import Actor, JsonObject, Name, Record, RequestId, Sha256


class PromotionStatus(StrEnum):
    """Where a promotion stands."""

    REQUESTED = "requested"
    PENDING_APPROVAL = "pending_approval"
    APPROVED = "approved"
    APPLIED = "applied"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"


ALLOWED_MOVES: dict[PromotionStatus, frozenset[PromotionStatus]] = {
    PromotionStatus.REQUESTED: frozenset(
        {PromotionStatus.PENDING_APPROVAL, PromotionStatus.APPROVED, PromotionStatus.REJECTED, PromotionStatus.SUPERSEDED}
    ),
    PromotionStatus.PENDING_APPROVAL: frozenset(
        {PromotionStatus.APPROVED, PromotionStatus.REJECTED, PromotionStatus.EXPIRED, PromotionStatus.SUPERSEDED}
    ),
    PromotionStatus.APPROVED: frozenset(
        {PromotionStatus.APPLIED, PromotionStatus.REJECTED, PromotionStatus.EXPIRED, PromotionStatus.SUPERSEDED}
    ),
    PromotionStatus.APPLIED: frozenset({PromotionStatus.ROLLED_BACK}),
    PromotionStatus.REJECTED: frozenset(),
    PromotionStatus.EXPIRED: frozenset(),
    PromotionStatus.SUPERSEDED: frozenset(),
    PromotionStatus.ROLLED_BACK: frozenset(),
}


class PromotionRequest(Record):
    """Ask to make one registered artifact current in an environment.

    `artifact` is an artifact id, `MODEL`, `MODEL:VERSION` or `MODEL@ENVIRONMENT`. Without `evaluation` the newest recorded
    evaluation of the artifact is judged; with one, it is kept and labelled as claimed.
    """

    artifact: str
    environment: str
    evaluation: JsonObject | None = None
    requested_by: Actor
    request_id: RequestId | None = None


class Decision(Record):
    """What the gate said, whole: `answer` is the body as it came, `source` who gave it.

    `unavailable` is true when no answer could be had; `allowed` is then false.
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


class Promotion(Record):
    """One promotion and everything decided about it."""

    id: UUID
    request_id: str
    artifact_id: UUID
    model: Name
    environment: Name
    status: PromotionStatus
    evaluation: dict[str, Any]
    evaluation_id: UUID | None
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


class Pointer(Record):
    """What is current for a model in an environment; `sequence` rises by one with each change."""

    environment: Name
    model: Name
    sequence: int
    promotion_id: UUID
    artifact_id: UUID
    updated_at: datetime
