"""What agreeing to a promotion takes and gives: approvals, withdrawals, whom a promotion waits for."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Base64Bytes, Field, StringConstraints

from aiinfra_core.domain.approval import Approval, Withdrawal
from aiinfra_core.domain.record import Record, Sha256
from aiinfra_core.wire.reading import SentStatement
from aiinfra_core.wire.records import Sent, SentArtifact, SentPromotion
from aiinfra_core.wire.rollouts import SentRolloutSpec

Comment = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]{1,2000}$")]
Envelope = Annotated[Base64Bytes, Field(max_length=16 * 1024)]
_SIGNED = (
    "The exact bytes of a DSSE envelope that a key of yours signed, in base64; without it the service vouches for you, as it knows you."
)


class AskedApproval(Record):
    """Agreement to exactly what a manifest says."""

    manifest: Sha256 = Field(description="Digest of the manifest you saw; if the promotion has another, nothing is recorded.")
    comment: Comment | None = Field(default=None, description="What you want to be kept with it.")
    envelope_base64: Envelope | None = Field(default=None, description=_SIGNED)


class AskedWithdrawal(Record):
    """An approval that is to be taken back."""

    reason: Comment | None = Field(default=None, description="Why.")
    envelope_base64: Envelope | None = Field(default=None, description=_SIGNED)


class SentWithdrawal(Sent):
    """How an approval was taken back; `attestation` is the digest of the statement that says so."""

    withdrawn_by: str
    reason: str | None
    attestation: str
    created_at: datetime


class SentApproval(Sent):
    """Somebody's agreement to one manifest; `attestation` is the digest of the statement that says so."""

    id: UUID
    promotion_id: UUID
    manifest: str
    approver: str
    means: str = Field(description="`key`: signed with a key of theirs; `identity`: the service vouches for them.")
    roles: tuple[str, ...] = Field(description="The roles they had when they gave it.")
    comment: str | None
    attestation: str
    expires_at: datetime
    created_at: datetime
    counts_as: tuple[str, ...] = Field(description="Those of its roles it counts for now.")
    objection: str | None = Field(description="Why it does not count, where it does not.")
    withdrawn: SentWithdrawal | None = None


class SentAgreement(Sent):
    """An approval that was given or taken back, and the promotion as it stands after it."""

    approval: SentApproval
    promotion: SentPromotion


class SentBack(Sent):
    """The rollout that had sent the same bytes back."""

    rollout: UUID
    reason: str | None = Field(description="Why it sent them back.")
    ended_at: datetime


class SentApprovals(Sent):
    """What a promotion waits for and who agreed; `manifest` is the signed statement an approval is about, null where there is none."""

    promotion: SentPromotion
    artifact: SentArtifact
    manifest: SentStatement | None
    required: dict[str, int] = Field(description="Role: how many people have to agree in it.")
    missing: tuple[str, ...] = Field(description="The roles nobody fills yet, each as often as it is missing.")
    pending_until: datetime | None
    approval_hours: float = Field(description="How long an approval may count at most.")
    approvals: tuple[SentApproval, ...] = Field(description="In the order they were given.")
    rollout: SentRolloutSpec | None = Field(default=None, description="By what it is to earn its traffic; null for all at once.")
    sent_back: SentBack | None = Field(default=None, description="The rollout it overrides; null where the bytes were not sent back.")
    tries: int = Field(default=0, description="How many rollouts of these bytes came to nothing there before.")


def sent_approval(approval: Approval, withdrawal: Withdrawal | None, counts_as: Iterable[str], objection: str | None) -> SentApproval:
    """Return an approval as it is sent."""
    taken = None if withdrawal is None else _sent_withdrawal(withdrawal)
    return SentApproval.model_construct(**dict(approval), counts_as=tuple(sorted(counts_as)), objection=objection, withdrawn=taken)


def _sent_withdrawal(withdrawal: Withdrawal) -> SentWithdrawal:
    return SentWithdrawal.model_construct(**{name: getattr(withdrawal, name) for name in SentWithdrawal.model_fields})
