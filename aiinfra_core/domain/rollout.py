"""Rollouts: how one stands, what a look saw and said, what people order. By what it is judged is in `rollout_spec`, how in `canary`."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from pydantic import Field, StrictBool

from aiinfra_core.domain.record import Actor, Name, Record, RequestId, Sha256
from aiinfra_core.domain.rollout_spec import RolloutSpec


class Arm(StrEnum):
    """Who answers a request: what is current, or what is to become so."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


class RolloutStatus(StrEnum):
    """How a rollout stands; what is paused is looked at and may go back, but does not advance."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    INCONCLUSIVE = "inconclusive"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


OPEN = frozenset({RolloutStatus.RUNNING, RolloutStatus.PAUSED})


class Rollout(Record):
    """One rollout: `promotion_id` is the challenger's, `champion` the promotion that is current, at `sequence`.

    `frozen` holds, by signal, the seconds above which a latency is bad.
    """

    id: UUID
    promotion_id: UUID
    environment: Name
    model: Name
    champion: UUID
    sequence: int
    spec: RolloutSpec
    spec_digest: Sha256
    salt: str
    status: RolloutStatus
    step: int
    weight: int
    looks: int
    frozen: dict[str, float] | None
    reason: str | None
    created_at: datetime
    step_started_at: datetime
    heard_at: datetime
    looked_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None


class Heard(StrEnum):
    """Whether a signal said something a look can use, and else what was wrong with it."""

    OK = "ok"
    WARMING_UP = "warming_up"  # the champion was not seen often enough yet to know what is slow for it
    NO_DATA = "no_data"
    LATE = "late"
    NOT_A_NUMBER = "not_a_number"
    NEGATIVE = "negative"
    DECREASING = "decreasing"
    MALFORMED = "malformed"
    UNREACHABLE = "unreachable"


class Counts(Record):
    """How many units of an arm were counted since the step began, and how many of them were bad."""

    units: int = Field(ge=0)
    bad: int = Field(ge=0)


class Reading(Record):
    """What one signal said at a look. Counts are there if, and only if, `heard` is `ok`; `through` is until when they are counted.

    `seconds` is the latency above which a unit is bad; `query` what was asked, as it was asked.
    """

    signal: Name
    heard: Heard
    champion: Counts | None = None
    challenger: Counts | None = None
    reason: str | None = None
    query: str | None = None
    seconds: float | None = None
    through: datetime | None = None


class Judged(Record):
    """What the judge made of one signal: natural logarithms of its two e-values, and what each has to reach.

    `ratios` are the logarithms of the likelihood ratios of the mixture, in its order, over all steps (of users: in this step, see
    `docs/canary.md`); `advance` begins anew in each step.
    `champion` and `challenger` are the counts of this step that are in them: those of the last look at which the signal was usable, of
    labels also at which both arms had new ones.
    """

    signal: Name
    champion: Counts | None = None
    challenger: Counts | None = None
    ratios: tuple[float, ...]
    rollback: float
    rollback_at: float
    advance: float
    advance_at: float


class Verdict(StrEnum):
    """What a look says: stay, go to the next step, go back because the challenger is worse, or go back because nobody can tell."""

    HOLD = "hold"
    ADVANCE = "advance"
    ROLLBACK = "rollback"
    INCONCLUSIVE = "inconclusive"


class Judgement(Record):
    """What the judge made of a look: of each signal, and of whether traffic was split as it should be (`sample_ratio`, a log e-value)."""

    signals: tuple[Judged, ...]
    sample_ratio: float
    sample_ratio_at: float


class Look(Record):
    """One look at a rollout: when, at which step, what was heard, what the judge made of it, its verdict and why."""

    number: int = Field(ge=1)
    step: int = Field(ge=0)
    weight: int
    readings: tuple[Reading, ...]
    judged: Judgement
    verdict: Verdict
    reason: str
    created_at: datetime


class Action(StrEnum):
    """What people may order."""

    PAUSE = "pause"
    RESUME = "resume"
    ADVANCE = "advance"
    ABORT = "abort"
    ROLLBACK = "rollback"


class RolloutOrder(Record):
    """What somebody ordered about a rollout at a step of it, with the digest of its signed statement."""

    id: UUID
    rollout_id: UUID
    action: Action
    step: int = Field(ge=0)
    reason: str = Field(min_length=1, max_length=1000)
    request_id: RequestId
    ordered_by: Actor
    attestation: Sha256
    created_at: datetime


class Rollback(Record):
    """Why a promotion goes back to what was current before, and from which promotion; `automatic` where no person asked for it."""

    reason: str = Field(min_length=1, max_length=1000)
    replaces: UUID
    automatic: StrictBool = False


class RollbackRequest(Record):
    """Ask for the previous good model of an environment; an open rollout is ended by it, and with that the champion has all traffic."""

    model: Name = Field(description="The model.")
    environment: str = Field(description="Where it is to go back.")
    to: int | None = Field(default=None, ge=1, description="The version to go back to; without one, the one that was current before.")
    reason: str = Field(min_length=1, max_length=1000, description="Why; it is signed and kept.")
    requested_by: Actor = Field(description="Who asks for it.")
    request_id: RequestId | None = Field(default=None, description="Your own name for this request; the same one is done once.")
