"""By what a promotion earns its traffic: weights, signals, and how sure one has to be. How a rollout stands lives in `rollout`."""

from enum import StrEnum
from itertools import pairwise
from typing import Annotated

from pydantic import Field, StrictBool, model_validator

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.record import Name, Record

WHOLE = 10_000
"""All traffic: weights are kept as whole numbers of this."""


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
    seconds: float | None = Field(
        default=None, ge=0.0001, le=3600, allow_inf_nan=False, description="Above this a latency is bad, instead."
    )
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
