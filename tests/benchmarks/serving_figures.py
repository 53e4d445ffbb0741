"""Measure what it costs, warm, to choose who answers a request, and to write it down and count what came of it; started by test_serving."""

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from aiinfra_core.domain.rollout_spec import Unit
from tests.simulators.serving_place import Place, place_in

REQUESTS, ROUNDS = 20_000, 9
MOST_MICROSECONDS = 10.0


def measure() -> None:
    """Print the figures, in microseconds of a request; fail where choosing takes longer than it may."""
    with tempfile.TemporaryDirectory() as folder, place_in(Path(folder)) as place:
        alone = _figures(place, "the champion has all traffic")
        place.shares()
        shared = _figures(place, "shared by request")
        place.shares(unit=Unit.USER, changes=2)
        users = _figures(place, "shared by user")
        assert max(alone, shared, users) <= MOST_MICROSECONDS, "choosing takes longer than it may"


def _figures(place: Place, what: str) -> float:
    units = [f"unit-{number}" for number in range(REQUESTS)]
    with place.serving(clock=lambda: (datetime.now(UTC), place.clock())[1]) as serving:  # looking at the clock is part of it
        choosing = _microseconds(lambda: [serving.peek(unit) for unit in units])
        whole = _microseconds(lambda: [serving.report(serving.choose(unit), seconds=0.012) for unit in units])
    print(f"{what}: choosing {choosing:.2f} us, the whole of a request {whole:.2f} us")  # noqa: T201
    return whole


def _microseconds(call: Callable[[], object]) -> float:
    took = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        call()
        took.append((time.process_time() - begun) / REQUESTS * 1e6)
    return statistics.median(took)


if __name__ == "__main__":
    measure()
