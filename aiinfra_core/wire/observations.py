"""What serving processes report of a rollout: counts, or users by a digest; never what was asked or answered."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from aiinfra_core.domain.latency import MOST_BIN
from aiinfra_core.domain.record import Actor, Record
from aiinfra_core.domain.rollout import Arm
from aiinfra_core.wire.records import Sent

MOST_OBSERVED = 5000
_Count = Annotated[int, Field(ge=0, le=10**12)]
_Bin = Annotated[int, Field(ge=0, le=MOST_BIN)]
UnitDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class ObservedCounts(Record):
    """How many requests an arm answered, how many failed; of how many it is known whether they were right, and how many were not.

    `latency` is bin -> requests, see `domain.latency`.
    """

    arm: Arm
    units: _Count = 0
    errors: _Count = 0
    labelled: _Count = 0
    wrong: _Count = 0
    latency: dict[_Bin, _Count] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_are_not_more_than_the_whole(self) -> "ObservedCounts":
        if self.errors > self.units or self.wrong > self.labelled or sum(self.latency.values()) > self.units:
            raise ValueError("errors and latencies are not more than units, and wrong ones not more than labelled ones")
        return self


class ObservedUser(Record):
    """What is known of a user's requests: by the first 16 hex digits of SHA-256(salt, user), never by name."""

    user: UnitDigest
    arm: Arm
    failed: bool = False
    labelled: bool = False
    wrong: bool = False
    slowest: _Bin | None = None

    @model_validator(mode="after")
    def _wrong_is_known(self) -> "ObservedUser":
        if self.wrong and not self.labelled:
            raise ValueError("an answer that proved wrong is a labelled one")
        return self


class AskedObservations(Record):
    """A batch of what one process observed in one step; the same batch counts once. Users where the rollout counts users, else counts."""

    batch: UUID = Field(description="A name of this batch; sent again it counts once.")
    reporter: Actor = Field(description="Which process reports.")
    step: int = Field(ge=0, le=20, description="The step at which the requests were routed.")
    counts: tuple[ObservedCounts, ...] = Field(default=(), max_length=2)
    users: tuple[ObservedUser, ...] = Field(default=(), max_length=MOST_OBSERVED)

    @model_validator(mode="after")
    def _each_is_there_once(self) -> "AskedObservations":
        if len({one.arm for one in self.counts}) != len(self.counts) or len({one.user for one in self.users}) != len(self.users):
            raise ValueError("an arm, or a user, is in a batch once, with all that was observed of it")
        return self


class SentObservations(Sent):
    """That a batch was taken; `counted` is false where it had been before, or came after the step had ended."""

    batch: UUID
    counted: bool
