"""Measure a look over 1,000 open rollouts, and how soon a regression among them has gone back; started by test_rollouts.

Each is of a model of its own, with two signals that are observed; the database is durable and the log is chained, as in use.
"""

import time
from datetime import UTC, datetime, timedelta

from aiinfra_core import rolling_out
from aiinfra_core.domain.rollout import Rollout, RolloutStatus
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.rolling_out import beside
from aiinfra_core.settings import Settings
from tests.benchmarks.registry_figures import durable
from tests.simulators import open_rollouts

ROLLOUTS, MOST_SECONDS = 1000, 10.0
BEFORE_IT = RolloutSpec(weights=(10, 50, 100), look_seconds=60)
SEEN = {"champion": {9: 8900, 12: 100}, "challenger": {9: 990, 12: 10}}


def measure(settings: Settings) -> None:
    """Print how long a round takes in which all hold, and the delay of one that goes back."""
    open_ones = [open_rollouts.begun(settings, BEFORE_IT, f"model-{number}") for number in range(ROLLOUTS)]
    at = datetime.now(UTC)
    for number in (1, 2, 3):
        for one in open_ones:
            open_rollouts.observe_latencies(settings, one, SEEN)
        at += timedelta(minutes=1)
        began, cpu = time.perf_counter(), time.process_time()
        looked = rolling_out.look_round(settings, at)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        assert [(one.look and one.look.verdict, one.problem) for one in looked] == [("hold", None)] * ROLLOUTS, looked[0]
        costs = f"{took:.2f} s, CPU {cpu:.2f} s; / {MOST_SECONDS:g} s: {took / MOST_SECONDS:.2f}"
        print(f"look {number} over {ROLLOUTS} open rollouts: {costs}")  # noqa: T201
    _regression(settings, open_rollouts.begun(settings, BEFORE_IT.model_copy(update={"look_seconds": 2.0}), "snow"))


def _regression(settings: Settings, rollout: Rollout) -> None:
    with beside.in_threads(settings):
        open_rollouts.observe(settings, rollout, open_rollouts.WORSE)
        began = time.perf_counter()
        while open_rollouts.now(settings, rollout).status is not RolloutStatus.ROLLED_BACK:
            time.sleep(0.01)
        took = time.perf_counter() - began
    within = rollout.spec.look_seconds + 2
    print(f"regression to pointer moved: {took:.2f} s; / look interval + 2 s: {took / within:.2f}")  # noqa: T201


if __name__ == "__main__":
    with durable() as made_settings:
        measure(made_settings)
