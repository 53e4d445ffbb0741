"""Step 14: above how many seconds a latency was counted as bad, against the spec, or what was frozen of the champion at a look before."""

import math
from collections.abc import Iterable, Iterator, Mapping

from aiinfra_core.domain.latency import bin_of, upper_seconds
from aiinfra_core.domain.rollout import Heard, Look, Reading, Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec, SourceKind
from aiinfra_core.errors import EvidenceBroken

_CLOSE = 1e-6  # powers differ in the last digits between machines
Frozen = Mapping[str, float]
"""By signal, the seconds above which a latency is bad."""


def frozen_by(spec: RolloutSpec, looks: Iterable[Look]) -> Frozen:
    """Return what is frozen after these looks, in order and from the first.

    Raises:
        EvidenceBroken: at `rollout`; one of them counted a latency above other seconds.
    """
    frozen: Frozen = {}
    for look in looks:
        frozen = frozen_after(spec, frozen, look)
    return frozen


def frozen_after(spec: RolloutSpec, frozen: Frozen, look: Look) -> Frozen:
    """Return what is frozen after a look: what it measured first, where it changed nothing about traffic.

    Raises:
        EvidenceBroken: at `rollout`; it counted a latency above other seconds.
    """
    for reading, signal in _latencies(spec, look):
        bad_above = frozen.get(signal.name) if signal.seconds is None else signal.seconds
        if not _is_fitting(reading, signal, bad_above):
            counted = "none" if reading.seconds is None else f"{reading.seconds:g}"
            stands = "nothing is frozen yet" if bad_above is None else f"{bad_above:g} is bad"
            raise EvidenceBroken("rollout", f"look {look.number} has {counted} as the seconds of {signal.name}, where {stands}.")
    if look.verdict is not Verdict.HOLD:
        return frozen
    measured = {one.signal: one.seconds for one, signal in _latencies(spec, look) if signal.seconds is None and one.seconds is not None}
    return {**measured, **frozen}


def _latencies(spec: RolloutSpec, look: Look) -> Iterator[tuple[Reading, SignalSpec]]:
    signals = {one.name: one for one in spec.signals if one.kind is SignalKind.LATENCY}
    yield from ((reading, signals[reading.signal]) for reading in look.readings if reading.signal in signals)


def _is_fitting(reading: Reading, signal: SignalSpec, bad_above: float | None) -> bool:
    if reading.heard is Heard.WARMING_UP:
        return bad_above is None
    if reading.heard is not Heard.OK:
        return reading.seconds is None
    if bad_above is None or reading.seconds is None:
        return False
    if signal.query is not None and signal.query.kind is SourceKind.PROMETHEUS:
        return reading.seconds >= bad_above  # the next bound that all its histograms have
    counted = upper_seconds(bin_of(bad_above)) if signal.source == SourceKind.OBSERVATIONS else bad_above
    return math.isclose(reading.seconds, counted, rel_tol=_CLOSE)
