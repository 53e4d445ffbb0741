"""Whose signatures count for what: the records of `trust.json`. The rules over them live in `evidence.trust`."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints

from aiinfra_core.domain.record import Actor, Name, Record, Sha256

LogOrigin = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{2,199}$")]


class Purpose(StrEnum):
    """What a key may sign: training, registration, scans; evaluation, reproduction; promotion; approval; audit events, checkpoints.

    With `vouching` it signs approvals of people whom a service knew by their identity provider: their word, passed on.
    """

    ARTIFACT = "artifact"
    EVALUATION = "evaluation"
    PROMOTION = "promotion"
    APPROVAL = "approval"
    VOUCHING = "vouching"
    AUDIT = "audit"


class Compromise(Record):
    """A key others may hold: nothing it signed counts that the log took in at `bad_from_index` (from 0) or later, or never took in."""

    reported_at: AwareDatetime
    reason: str = Field(min_length=1, max_length=500)
    bad_from_index: int = Field(ge=0)


class TrustedKey(Record):
    """One Ed25519 key: `keyid` is the hex SHA-256 of its SubjectPublicKeyInfo, `public_key` base64 of its 32 raw bytes.

    `owner` is the person or team that holds it; a threshold counts owners, whatever keys they hold. `environments` None means all;
    `valid_from` None means always, `valid_until` (exclusive) None means for as long as it is listed.
    """

    keyid: Sha256
    public_key: str
    signer_id: Actor
    owner: Actor
    roles: tuple[Name, ...] = ()
    purposes: tuple[Purpose, ...] = Field(min_length=1)
    environments: tuple[Name, ...] | None = None
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    compromise: Compromise | None = None


class Trust(Record):
    """`trust.json`: keys, how many owners of which role must agree per environment, and the logs that count.

    What was applied before the time of its environment in `thresholds_since` needed nobody; without one what was applied always did.
    """

    keys: tuple[TrustedKey, ...]
    thresholds: dict[Name, dict[Name, Annotated[int, Field(ge=1, le=100)]]] = Field(default_factory=dict)
    thresholds_since: dict[Name, AwareDatetime] | None = None
    logs: tuple[LogOrigin, ...] = Field(min_length=1)
    note: str | None = Field(default=None, max_length=1000)


def is_within(moment: datetime, key: TrustedKey) -> bool:
    """Return whether a moment lies in the key's time."""
    return (key.valid_from is None or key.valid_from <= moment) and (key.valid_until is None or moment < key.valid_until)


def is_bounded(key: TrustedKey) -> bool:
    """Return whether it depends on time or place in the log what the key's signature is worth."""
    return (key.valid_from, key.valid_until, key.compromise) != (None, None, None)
