"""The shapes of what is claimed about traffic: where it goes now, and what somebody ordered about a rollout.

Building lives in `rollouts`; those of a model's own way are in `predicates`.
"""

from typing import Literal

from pydantic import Field, StrictInt

from aiinfra_core.domain.record import Sha256
from aiinfra_core.evidence.predicate_parts import Own, Timestamp


class RoutedArm(Own):
    """An artifact that answers requests; `manifest` is the digest of the promotion manifest by which it may."""

    artifact_id: str
    version: StrictInt = Field(ge=1, lt=2**53)
    artifact_uri: str
    digest_kind: Literal["sha256", "dirHash"]
    checksum: Sha256
    manifest: Sha256


class Routing(Own):
    """Where the traffic of a model in an environment goes, from `issued_at` until `expires_at`; who asks gets a new one in time.

    (`sequence`, `changes`) rises with every change. `weight`, of 10,000, is the challenger's share; a unit goes to it where the first
    8 bytes of SHA-256(salt, unit), as a number, are less than weight / 10,000 of 2 ** 64.
    """

    environment: str
    model: str
    sequence: StrictInt = Field(ge=1, lt=2**53)
    changes: StrictInt = Field(ge=0, lt=2**53)
    champion: RoutedArm
    challenger: RoutedArm | None
    weight: StrictInt = Field(ge=0, le=10_000)
    salt: str | None
    unit: Literal["request", "user"] | None
    rollout_id: str | None
    step: StrictInt | None
    issued_at: Timestamp
    expires_at: Timestamp


class RolloutOrder(Own):
    """What somebody ordered about a rollout whose challenger has this promotion `manifest`.

    `step`, from 0, is the one it was at; `reason_digest` is of the reason's text.
    """

    rollout_id: str
    model: str
    environment: str
    manifest: Sha256
    action: Literal["pause", "resume", "advance", "abort", "rollback"]
    step: StrictInt = Field(ge=0, lt=2**31)
    reason_digest: Sha256
    ordered_by: str
    ordered_at: Timestamp
