"""Approvals: who agreed to a promotion's exact manifest, for how long, and who took that back."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from aiinfra_core.domain.record import Actor, Name, Record, Sha256

DEBUG_TOKEN = "debug-token"  # noqa: S105 - the name of a kind of proof
THIS_MACHINE = "this-machine"
UNPROVEN = (DEBUG_TOKEN, THIS_MACHINE)
"""The issuers of names that nobody had to prove: whoever develops plays several people with them. With a trust root they do not count."""


class Means(StrEnum):
    """How it is known who agreed: they signed with a key of theirs, or a service vouches for whom their identity provider named."""

    KEY = "key"
    IDENTITY = "identity"


class Approval(Record):
    """Somebody's agreement to one manifest, kept with its signed statement.

    `roles` are those that counted when it was given: of the approver's keys in the trust root, or those the service knew them by.
    """

    id: UUID
    promotion_id: UUID
    manifest: Sha256
    approver: Actor
    means: Means
    roles: tuple[Name, ...]
    comment: str | None
    attestation: Sha256
    expires_at: datetime
    created_at: datetime


class Withdrawal(Record):
    """An approval that was taken back before its promotion was applied."""

    approval_id: UUID
    reason: str | None
    attestation: Sha256
    withdrawn_by: Actor
    created_at: datetime
