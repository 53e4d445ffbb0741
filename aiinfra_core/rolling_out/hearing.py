"""What the signals of a rollout say at a look: those that are observed as the registry counted them, the others where they are asked."""

from dataclasses import dataclass
from datetime import datetime

from aiinfra_core import signals
from aiinfra_core.domain.rollout import Look, Reading, Rollout
from aiinfra_core.domain.rollout_spec import SignalKind, SignalSpec, SourceKind
from aiinfra_core.registry import observations
from aiinfra_core.registry.observations import Observed
from aiinfra_core.settings import Settings


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
    readings = tuple(
        observations.reading_of(observed, rollout, signal, at)
        if signal.source == SourceKind.OBSERVATIONS
        else signals.read(settings, rollout, signal, before.get(signal.name), at)
        for signal in rollout.spec.signals
    )
    measured = {one.signal: one.seconds for one, signal in zip(readings, rollout.spec.signals, strict=True) if _is_to_freeze(signal)}
    known = {name: seconds for name, seconds in measured.items() if seconds is not None} | (rollout.frozen or {})
    return Said(readings, known or None)


def asks_others(rollout: Rollout) -> bool:
    """Say whether anybody but our database is asked for a signal."""
    return any(signal.source != SourceKind.OBSERVATIONS for signal in rollout.spec.signals)


def _is_to_freeze(signal: SignalSpec) -> bool:
    return signal.kind is SignalKind.LATENCY and signal.seconds is None
