"""Rollouts: by what a promotion earns its traffic, how one stands, what a look at it saw and said. How it is judged lives in `canary`."""

from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Annotated
from uuid import UUID

from pydantic import Field, StrictBool, model_validator

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.record import Actor, Name, Record, RequestId, Sha256

WHOLE = 10_000
"""All traffic: weights are kept as whole numbers of this."""


class Arm(StrEnum):
    """Who answers a request: what is current, or what is to become so."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"


class Unit(StrEnum):
    """What is sent to one arm as a whole and counted once: each request, or each user."""

    REQUEST = "request"
    USER = "user"


class SignalKind(StrEnum):
    """What makes a request a bad one: it failed, it was slower than almost all of the champion's, or its answer proved wrong."""

    ERRORS = "errors"
    LATENCY = "latency"
    QUALITY = "quality"


class SourceKind(StrEnum):
    """Where a signal's numbers come from."""

    OBSERVATIONS = "observations"
    PROMETHEUS = "prometheus"
    SQL = "sql"


class Query(Record):
    """How Prometheus or a database is asked for one signal; what stands in braces is filled in, see `docs/signals.md`.

    For Prometheus `units` and `bad` select counters, for latency `buckets` those of a histogram; for SQL `statement` returns a row per arm
    (`arm`, `units`, `bad`), counted since the step began.
    """

    kind: SourceKind = Field(description="Who is asked.")
    units: str | None = Field(default=None, max_length=2000, description="PromQL of a counter of units.")
    bad: str | None = Field(default=None, max_length=2000, description="PromQL of a counter of bad units.")
    buckets: str | None = Field(default=None, max_length=2000, description="PromQL of the buckets of a histogram of latencies.")
    statement: str | None = Field(default=None, max_length=8000, description="SQL that returns a row for each arm.")


class SignalSpec(Record):
    """One signal that a rollout is judged by.

    `alpha` bounds how often it sends a challenger back that is no worse than `margin` times the champion. `source` is `observations`, or
    the name of a query of the operator's, which `query` then holds. A latency is bad above the champion's `quantile`, frozen when enough
    of the champion was seen, or above `seconds`. Where it does not `advances`, it only sends back: nothing has to be proven in it.
    """

    name: Name = Field(description="What it is called in this rollout.")
    kind: SignalKind = Field(description="What makes a unit a bad one.")
    alpha: float = Field(gt=0, le=0.1, allow_inf_nan=False, description="How often, at most, a challenger that is good enough goes back.")
    margin: float | None = Field(default=None, ge=1, le=5, allow_inf_nan=False, description="Its own margin; without it, the rollout's.")
    source: Name = Field(default="observations", description="What serving processes report, or a query the operator named.")
    query: Query | None = Field(default=None, description="The operator's query, filled in for its name; nobody else may send one.")
    quantile: float = Field(
        default=0.95, ge=0.5, le=0.999, allow_inf_nan=False, description="Above this quantile of the champion's a latency is bad."
    )
    seconds: float | None = Field(default=None, gt=0, le=3600, allow_inf_nan=False, description="Above this a latency is bad, instead.")
    advances: StrictBool = Field(default=True, description="Whether it takes evidence in it to go on; else it only sends back.")


class Inconclusive(StrEnum):
    """What becomes of a rollout whose deadline passes without evidence: back to the champion, or on as it is until a person decides."""

    RETURN = "return"
    HOLD = "hold"


_DEFAULT_SIGNALS = (
    SignalSpec(name="errors", kind=SignalKind.ERRORS, alpha=0.004),
    SignalSpec(name="latency", kind=SignalKind.LATENCY, alpha=0.003),
)


class RolloutSpec(Record):
    """By what a challenger earns its traffic; the same for every step.

    `weights` are the challenger's shares in per cent, rising to 100, each with at most two decimals; `[100]` alone is a plain promotion.
    A step takes `bake_minutes` at least and ends with evidence at `advance_alpha` that no signal is `1.5 * margin` times the champion's
    or worse; a rollout as a whole takes `deadline_hours` at most. It is looked at every `look_seconds`; where a signal says nothing
    usable for `silent_minutes` it ends as inconclusive. A challenger of which `kill_share` of at least `kill_units` units failed goes back
    at once.
    """

    weights: Annotated[tuple[float, ...], Field(min_length=1, max_length=20)] = Field(
        default=(5, 25, 50, 100), description="The challenger's share in each step, in per cent, rising to 100."
    )
    bake_minutes: float = Field(default=10, ge=0, le=10_080, allow_inf_nan=False, description="A step takes so long at least.")
    deadline_hours: float = Field(default=24, gt=0, le=2160, allow_inf_nan=False, description="All steps take so long at most.")
    unit: Unit = Field(default=Unit.REQUEST, description="What is sent to one arm as a whole, and counted once.")
    salt: str | None = Field(
        default=None, min_length=8, max_length=64, pattern=r"^[\x21-\x7e]+$", description="What spreads units; without it, a random one."
    )
    signals: Annotated[tuple[SignalSpec, ...], Field(min_length=1, max_length=8)] = Field(
        default=_DEFAULT_SIGNALS, description="What it is judged by."
    )
    margin: float = Field(default=1.25, ge=1, le=5, allow_inf_nan=False, description="How many times worse it may be than the champion.")
    advance_alpha: float = Field(default=0.01, gt=0, le=0.1, allow_inf_nan=False, description="How often, at most, a bad one goes on.")
    kill_share: float = Field(default=0.5, gt=0, le=1, allow_inf_nan=False, description="With such a share of failed units it goes back.")
    kill_units: int = Field(default=20, ge=5, le=1_000_000, description="Of at least so many units, at once.")
    when_inconclusive: Inconclusive = Field(default=Inconclusive.RETURN, description="What becomes of it at its deadline.")
    look_seconds: float = Field(default=60, ge=1, le=3600, allow_inf_nan=False, description="How often it is looked at.")
    silent_minutes: float = Field(default=15, gt=0, le=1440, allow_inf_nan=False, description="How long a signal may say nothing usable.")

    @model_validator(mode="after")
    def _steps_rise_to_all(self) -> "RolloutSpec":
        steps = [round(weight * 100) for weight in self.weights]
        if any(abs(weight * 100 - step) > 1e-6 for weight, step in zip(self.weights, steps, strict=True)):
            raise ValueError("a weight is in per cent, with two decimals at most")
        if steps[-1] != WHOLE or steps[0] <= 0 or any(later <= earlier for earlier, later in pairwise(steps)):
            raise ValueError("weights must rise and end with 100, such as [5, 25, 50, 100]")
        return self

    @model_validator(mode="after")
    def _each_signal_is_one(self) -> "RolloutSpec":
        names = [signal.name for signal in self.signals]
        if len(set(names)) != len(names):
            raise ValueError("two signals have the same name")
        if any((signal.source == SourceKind.OBSERVATIONS) != (signal.query is None) for signal in self.signals if signal.query):
            raise ValueError("a signal from observations has no query")
        if not any(signal.advances for signal in self.signals):
            raise ValueError("one signal at least has to advance the rollout; without evidence nothing does")
        return self

    @property
    def steps(self) -> tuple[int, ...]:
        """The weights, of 10,000."""
        return tuple(round(weight * 100) for weight in self.weights)

    @property
    def at_once(self) -> bool:
        """Whether there is nothing to earn: all traffic from the first step on."""
        return self.steps[0] == WHOLE

    def margin_of(self, signal: SignalSpec) -> float:
        """Return how many times worse than the champion a challenger may be in a signal."""
        return self.margin if signal.margin is None else signal.margin

    def document(self) -> str:
        """Return its canonical JSON, which is what its digest is of."""
        return canonical_json.dumps(self.model_dump(mode="json", by_alias=True)).decode()

    def digest(self) -> str:
        """Return the hex SHA-256 of its document."""
        return sha256_hex(self.document().encode())


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
    `champion` and `challenger` are the counts of this step that are in them: those of the last look at which the signal was usable.
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
    """What somebody ordered about a rollout, with the digest of its signed statement."""

    id: UUID
    rollout_id: UUID
    action: Action
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
