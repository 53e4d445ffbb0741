"""That an artifact's bytes were removed: who said so, why, and under which rule."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from aiinfra_core.domain.record import Actor, Record, Sha256

_MOST_DAYS, _MOST = 36_500, 2**31 - 1


class RetentionRule(Record):
    """What is kept when bytes are removed.

    Younger artifacts, the newest versions of each model, and the last artifacts that were current in each environment (the first of them is
    what is current, the next what one would go back to).
    """

    older_than_days: int = Field(ge=0, le=_MOST_DAYS)
    keep_last: int = Field(ge=0, le=_MOST)
    rollback_targets: int = Field(default=2, ge=1, le=_MOST)


class Tombstone(Record):
    """One artifact's tombstone; `attestation` is None until it is signed."""

    artifact_id: UUID
    reason: str
    rule: RetentionRule
    attestation: Sha256 | None
    pruned_by: Actor
    created_at: datetime
