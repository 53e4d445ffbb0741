"""Rollouts as they are sent: how one stands, the looks it was judged by, what people ordered; and what an order takes."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field, StrictInt

from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.record import Record
from aiinfra_core.domain.rollout import Look, Rollout, RolloutOrder, RolloutStatus
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec
from aiinfra_core.wire.records import Sent, SentArtifact, sent_artifact


class AskedOrder(Record):
    """What somebody orders about a rollout."""

    reason: str = Field(min_length=1, max_length=1000, description="Why; it is signed and kept.")


class AskedAdvance(AskedOrder):
    """That a rollout is to go on from a step without waiting for evidence."""

    step: StrictInt = Field(
        ge=0, le=2**31 - 1, description="The step that was seen, as the rollout says it; if it is at another one, nothing is done."
    )


class SentSignalSpec(SignalSpec):
    """One signal that a rollout is judged by."""

    model_config = ConfigDict(extra="ignore")


class SentRolloutSpec(RolloutSpec):
    """By what a challenger earns its traffic."""

    model_config = ConfigDict(extra="ignore")

    signals: tuple[SentSignalSpec, ...]


class SentRollout(Sent):
    """A rollout as it stands; `challenger` and `champion` are promotions, weights are of 10,000, `looks` says how many there were."""

    id: UUID
    environment: str
    model: str
    status: str
    step: int = Field(description="Which weight of its spec it is at, from 0.")
    weight: int = Field(description="The challenger's part of the traffic, of 10,000.")
    looks: int
    reason: str | None = Field(description="Why it ended, where it has.")
    promotion_id: UUID = Field(description="The challenger's promotion.")
    challenger_version: int
    champion: UUID = Field(description="The promotion that is current.")
    champion_version: int
    sequence: int = Field(description="The sequence of what is current.")
    spec: SentRolloutSpec
    spec_digest: str
    salt: str
    frozen: dict[str, float] | None = Field(description="Signal: the seconds above which a latency is bad, once that is known.")
    created_at: datetime
    step_started_at: datetime
    heard_at: datetime = Field(description="When all signals last said something usable.")
    looked_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.status in (RolloutStatus.RUNNING, RolloutStatus.PAUSED)


class SentCounts(Sent):
    """How many units of an arm were counted since the step began, and how many of them were bad."""

    units: int
    bad: int


class SentHeard(Sent):
    """What one signal said at a look; counts are there if, and only if, `heard` is `ok`."""

    signal: str
    heard: str
    champion: SentCounts | None = None
    challenger: SentCounts | None = None
    reason: str | None = None
    query: str | None = Field(default=None, description="What was asked; left out where looks are chosen from the whole rollout.")
    seconds: float | None = None
    through: datetime | None = None


class SentJudged(Sent):
    """What the judge made of one signal: natural logarithms of its two e-values, and what each has to reach.

    `champion` and `challenger` are the counts they rest on, the last usable ones of the step.
    """

    signal: str
    champion: SentCounts | None = None
    challenger: SentCounts | None = None
    ratios: tuple[float, ...]
    rollback: float
    rollback_at: float
    advance: float
    advance_at: float


class SentJudgement(Sent):
    """What the judge made of a look; `sampleRatio` is the logarithm of an e-value against traffic being split as it should be."""

    signals: tuple[SentJudged, ...]
    sample_ratio: float
    sample_ratio_at: float


class SentLook(Sent):
    """One look at a rollout: what was heard, what the judge made of it, its verdict and why."""

    number: int
    step: int
    weight: int
    readings: tuple[SentHeard, ...]
    judged: SentJudgement
    verdict: str
    reason: str
    created_at: datetime


class SentOrder(Sent):
    """What somebody ordered; `attestation` is the digest of the signed statement that says so."""

    id: UUID
    action: str
    step: int = Field(description="The step it was at, from 0.")
    reason: str
    ordered_by: str
    attestation: str
    created_at: datetime


class SentRolloutDetails(Sent):
    """A rollout with what it was judged by: looks in their order, and orders."""

    rollout: SentRollout
    challenger: SentArtifact
    champion: SentArtifact
    looks: tuple[SentLook, ...] = Field(
        description="Those after `after`, up to `limit` and 4 MB. Without `after` so many of the whole rollout, evenly chosen: the first, "
        "the last, and those that moved traffic are among them."
    )
    orders: tuple[SentOrder, ...]


def sent_rollout(rollout: Rollout, challenger_version: int, champion_version: int) -> SentRollout:
    """Return a rollout as it is sent."""
    versions = {"challenger_version": challenger_version, "champion_version": champion_version}
    return SentRollout.model_validate({**rollout.model_dump(), **versions})


def sent_details(
    rollout: Rollout, challenger: Artifact, champion: Artifact, looks: Iterable[SentLook], orders: Iterable[RolloutOrder]
) -> SentRolloutDetails:
    """Return a rollout with its looks and orders as they are sent."""
    return SentRolloutDetails.model_construct(
        rollout=sent_rollout(rollout, challenger.version, champion.version),
        challenger=sent_artifact(challenger),
        champion=sent_artifact(champion),
        looks=tuple(looks),
        orders=tuple(SentOrder.model_validate(one.model_dump()) for one in orders),
    )


def sent_look(look: Look, *, with_queries: bool = True) -> SentLook:
    """Return a look as it is sent."""
    told: dict[str, Any] = look.model_dump()
    if not with_queries:
        told["readings"] = [{**one, "query": None} for one in told["readings"]]
    return SentLook.model_validate(told)
