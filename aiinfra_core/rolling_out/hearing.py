"""What the signals of a rollout say at a look: those that are observed as the registry counted them, the others where they are asked.

A look is never lost over a signal: what goes wrong while one is read is a reading that says so.
"""

import logging
from dataclasses import dataclass
from datetime import datetime

from aiinfra_core import canonical_json, signals
from aiinfra_core.domain.rollout import Heard, Look, Reading, Rollout
from aiinfra_core.domain.rollout_spec import SignalKind, SignalSpec, SourceKind
from aiinfra_core.registry import observations
from aiinfra_core.registry.observations import Observed
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Said:
    """What was heard at a look, and by signal the latencies that are known of the champion from then on."""

    readings: tuple[Reading, ...]
    frozen: dict[str, float] | None


def hear(settings: Settings, rollout: Rollout, previous: Look | None, observed: Observed, at: datetime) -> Said:
    """Return what every signal says now; one that says nothing usable says why.

    What is frozen at a look is what the next one is judged by: by then it is kept.
    """
    before = {one.signal: one for one in previous.readings} if previous and previous.step == rollout.step else {}
    readings = tuple(_heard(settings, rollout, signal, before.get(signal.name), observed, at) for signal in rollout.spec.signals)
    measured = {one.signal: one.seconds for one, signal in zip(readings, rollout.spec.signals, strict=True) if _is_to_freeze(signal)}
    known = {name: seconds for name, seconds in measured.items() if seconds is not None} | (rollout.frozen or {})
    return Said(readings, known or None)


def asks_others(rollout: Rollout) -> bool:
    """Say whether anybody but our database is asked for a signal."""
    return any(signal.source != SourceKind.OBSERVATIONS for signal in rollout.spec.signals)


def _heard(settings: Settings, rollout: Rollout, signal: SignalSpec, previous: Reading | None, observed: Observed, at: datetime) -> Reading:
    try:
        if signal.source == SourceKind.OBSERVATIONS:
            return _keepable(observations.reading_of(observed, rollout, signal, at))
        return _keepable(signals.read(settings, rollout, signal, previous, at))
    except Exception as error:  # whatever it is: a rollout nobody can look at would neither be killed nor end at its deadline
        logger.exception("Something unexpected happened while signal %s of rollout %s was read", signal.name, rollout.id)
        reason = f"reading it ended in something unexpected ({type(error).__name__}); the log shows where"
        return Reading(signal=signal.name, heard=Heard.MALFORMED, reason=reason)


def _keepable(reading: Reading) -> Reading:
    """Return a reading that the database can take.

    Raises:
        BadInput, ValueError: it holds what is no JSON, or a NUL, for which PostgreSQL has no text.
    """
    canonical_json.dumps(reading.model_dump(mode="json"))
    if "\0" in f"{reading.reason}{reading.query}":
        raise ValueError("a reading holds a NUL")
    return reading


def _is_to_freeze(signal: SignalSpec) -> bool:
    return signal.kind is SignalKind.LATENCY and signal.seconds is None
