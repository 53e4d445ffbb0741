"""What one look costs the canary judge, per signal: at its first look, after many, and of users; and a plan."""

import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from aiinfra_core import canary
from aiinfra_core.domain.rollout import Counts, Heard, Reading
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec, Unit

BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
LOOKS = 2000
NAMES = ("errors", "latency", "quality")
SIGNALS = tuple(SignalSpec(name=name, kind=SignalKind(name), alpha=0.003) for name in NAMES)


def readings(number: int, signals: int) -> list[Reading]:
    """Return the counts of look `number`: 600 units a minute, of which one in twenty is bad."""
    champion, challenger = Counts(units=570 * number, bad=28 * number), Counts(units=30 * number, bad=3 * number // 2)
    return [Reading(signal=name, heard=Heard.OK, champion=champion, challenger=challenger) for name in NAMES[:signals]]


def microseconds(spec: RolloutSpec) -> list[float]:
    """Return what each of many looks took, per signal."""
    taken: list[float] = []
    seen, previous = canary.Seen(0, 0, BEGAN, BEGAN, BEGAN, BEGAN, False), None
    for number in range(1, LOOKS + 1):
        seen = replace(seen, number=number, at=BEGAN + timedelta(seconds=number), heard_at=seen.at)
        told = readings(number, len(spec.signals))
        started = time.process_time()
        previous = canary.judge(spec, seen, previous, told)
        taken.append((time.process_time() - started) * 1e6 / len(spec.signals))
    return taken


def main() -> None:
    for unit in Unit:
        for signals in (1, 2, 3):
            spec = RolloutSpec(signals=SIGNALS[:signals], unit=unit)
            taken = microseconds(spec)
            p50, p99 = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
            print(f"a look, {unit}s, {signals} signals: p50 {p50:.0f} us, p99 {p99:.0f} us per signal (wanted: <= 100)")  # noqa: T201
    started = time.perf_counter()
    canary.plan(RolloutSpec(), 600, {"errors": 0.01, "latency": 0.05})
    print(f"a plan of three steps and two signals: {(time.perf_counter() - started) * 1e3:.1f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
