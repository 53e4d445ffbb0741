"""What every gate said about a promotion, as it is sent with that promotion."""

from datetime import datetime
from typing import Any

from pydantic import Field

from aiinfra_core.wire.records import Sent, SentPromotion


class SentRule(Sent):
    """What one rule of the local policy said, and the values it looked at."""

    id: str
    verdict: str = Field(description="`yes`, `no`, or `error` where it could not be told, which counts as a no.")
    reason: str
    used: dict[str, Any] = Field(default_factory=dict, description="Path of an input: the value it had.")


class SentGateDecision(Sent):
    """What one gate said, when it was asked for or again before a promotion that had waited for people was applied."""

    gate: str = Field(examples=["local", "sentinelnet"])
    stage: str = Field(description="`request`, or `apply` for the second time.")
    allowed: bool
    decision: str | None = Field(description="`allow`, `deny`, `quarantine` or `remediate`, where the gate said it so.")
    unavailable: bool = Field(description="Whether no answer could be had.")
    reason: str
    policy_id: str | None
    policy_version: str | None
    policy_digest: str | None
    rules: tuple[SentRule, ...] | None = Field(description="Of the local policy, each of its rules.")
    created_at: datetime


class SentPromotionDetails(SentPromotion):
    """A promotion, how it ended, and what every gate said about it."""

    decisions: tuple[SentGateDecision, ...]
