"""Looks of the canary judge, one minute after the other, from counts written by hand."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aiinfra_core import canary
from aiinfra_core.domain.rollout import Counts, Heard, Look, Reading
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec

BEGAN = datetime(2026, 11, 23, 12, tzinfo=UTC)
START = canary.Seen(1, 0, BEGAN, BEGAN, BEGAN, BEGAN, False)
ERRORS = SignalSpec(name="errors", kind="errors", alpha=0.004)
LATENCY = SignalSpec(name="latency", kind="latency", alpha=0.003)


def spec_of(*signals: SignalSpec, **changes: Any) -> RolloutSpec:
    return RolloutSpec(signals=signals or (ERRORS,), weights=changes.pop("weights", (10, 50, 100)), **changes)


def heard(champion: tuple[int, int], challenger: tuple[int, int], signal: str = "errors") -> Reading:
    """Return a reading with counts, each arm's as bad and units."""
    arms = [Counts(units=units, bad=bad) for bad, units in (champion, challenger)]
    return Reading(signal=signal, heard=Heard.OK, champion=arms[0], challenger=arms[1])


def silent(why: Heard, signal: str = "errors", reason: str | None = None) -> Reading:
    return Reading(signal=signal, heard=why, reason=reason)


def at_minute(minute: float, seen: canary.Seen = START, **changes: Any) -> canary.Seen:
    return replace(seen, at=BEGAN + timedelta(minutes=minute), **changes)


def looked(spec: RolloutSpec, minutes: Iterable[list[Reading]], begun: canary.Seen = START) -> list[tuple[canary.Seen, Look]]:
    """Return a look a minute, each told what the one before left behind, as a driver does."""
    told: list[tuple[canary.Seen, Look]] = []
    seen, previous = begun, None
    for readings in minutes:
        seen = replace(seen, at=seen.at + timedelta(minutes=1))
        look = canary.judge(spec, seen, previous, readings)
        told.append((seen, look))
        previous, seen = look, after(seen, look)
    return told


def after(seen: canary.Seen, look: Look) -> canary.Seen:
    heard_at = seen.at if canary.was_heard(look) else seen.heard_at
    seen = replace(seen, number=seen.number + 1, heard_at=heard_at)
    return replace(seen, step=seen.step + 1, step_started_at=seen.at) if look.verdict == "advance" else seen
