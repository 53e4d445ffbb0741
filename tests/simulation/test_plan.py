"""What `canary.plan` says beforehand is what simulated rollouts take, within a fifth."""

import numpy as np
import pytest
from numpy.random import Generator

from aiinfra_core import canary
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec
from tests.simulation.judges import is_as_good, is_worse
from tests.simulation.paths import Array, steady

ERRORS = SignalSpec(name="errors", kind="errors", alpha=0.004)
LATENCY = SignalSpec(name="latency", kind="latency", alpha=0.003)
SAMPLE, MANY, LONGEST = 400, 4000, 8
PLANNED = [  # units a minute, bad shares, weights
    (600, {"errors": 0.01}, (5, 10, 25, 50, 100)),
    (600, {"errors": 0.001}, (5, 25, 100)),
    (60, {"errors": 0.02, "latency": 0.05}, (10, 50, 100)),
    (6000, {"errors": 0.01, "latency": 0.012}, (5, 50, 100)),
]
every_plan = pytest.mark.parametrize(("units", "bad", "weights"), PLANNED)


def planned(units: float, bad: dict[str, float], weights: tuple[float, ...]) -> tuple[RolloutSpec, list[canary.StepPlan]]:
    signals = tuple(signal for signal in (ERRORS, LATENCY) if signal.name in bad)
    spec = RolloutSpec(weights=weights, signals=signals, bake_minutes=5, deadline_hours=2000)
    return spec, canary.plan(spec, units, bad)


def first(says: Array) -> float:
    """Return the mean of the minutes after which a path is first said to be so, which all of them are."""
    assert says.any(axis=1).mean() > 0.995
    return float((says.argmax(axis=1) + 1)[says.any(axis=1)].mean())


def agrees(measured: float, expected: float | None, what: str) -> None:
    assert expected is not None
    print(f"{what}: planned {expected:.1f}, simulated {measured:.1f} minutes")  # noqa: T201
    assert abs(expected / measured - 1) <= 0.2


def steps_agree(random: Generator, spec: RolloutSpec, plans: list[canary.StepPlan], bad: dict[str, float], rollouts: int) -> None:
    for plan in plans:
        looks, weight = int(LONGEST * (plan.minutes or 0)), plan.weight / 10_000
        paths = [steady(random, rollouts, looks=looks, bad_per_look=rate, weight=weight, risk=1) for rate in bad.values()]
        baked = np.arange(1, looks + 1) >= spec.bake_minutes
        says = np.logical_and.reduce([is_as_good(path, spec.margin, spec.advance_alpha) for path in paths]) & baked
        agrees(first(says), plan.minutes, f"{plan.weight / 100:g} % goes on")


def finds_agree(random: Generator, spec: RolloutSpec, plans: list[canary.StepPlan], bad: dict[str, float], rollouts: int) -> None:
    for plan in plans:
        for signal in spec.signals:
            for times, minutes in plan.finds[signal.name].items():
                looks = int(5 * (minutes or 0)) + 5
                rate, weight = bad[signal.name], plan.weight / 10_000
                paths = steady(random, rollouts, looks=looks, bad_per_look=rate, weight=weight, risk=times)
                agrees(first(is_worse(paths, spec.margin, signal.alpha)), minutes, f"{plan.weight / 100:g} %, {times} x in {signal.name}")


def a_plan_holds(units: float, bad: dict[str, float], weights: tuple[float, ...], rollouts: int) -> None:
    spec, plans = planned(units, bad, weights)
    rates = {name: units * share for name, share in bad.items()}
    steps_agree(np.random.default_rng(1), spec, plans, rates, rollouts)
    finds_agree(np.random.default_rng(2), spec, plans, rates, rollouts)


def test_a_plan_holds_in_a_sample() -> None:
    a_plan_holds(600, {"errors": 0.01}, (10, 25, 100), SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(300)
@every_plan
def test_a_plan_holds(units: float, bad: dict[str, float], weights: tuple[float, ...]) -> None:
    a_plan_holds(units, bad, weights, MANY if units * min(bad.values()) > 1 else SAMPLE)


def test_no_step_is_planned_to_be_shorter_than_its_bake() -> None:
    spec = RolloutSpec(signals=(ERRORS,), bake_minutes=30)
    assert canary.plan(spec, 10**7, {"errors": 0.01})[0].minutes == pytest.approx(30)


def test_what_takes_longer_than_a_rollout_may_is_not_planned() -> None:
    spec = RolloutSpec(signals=(ERRORS, LATENCY), deadline_hours=1)
    slow, never = (canary.plan(spec, 600, {"errors": share, "latency": 0.05})[0] for share in (0.01, 0))
    assert slow.minutes is None
    assert never.finds["errors"] == {2: None, 3: None, 5: None}
    assert never.finds["latency"][5] is not None


def test_a_challenger_within_the_margin_is_never_planned_to_be_found() -> None:
    spec = RolloutSpec(signals=(ERRORS,), margin=2.5, deadline_hours=2000)
    assert canary.plan(spec, 600, {"errors": 0.01})[0].finds["errors"][2] is None
