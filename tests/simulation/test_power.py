"""How often, and how soon, a challenger that is worse is found: 600 requests a minute, 1 % bad, 60 looks a minute apart."""

import numpy as np
import pytest

from tests.simulation.judges import is_worse
from tests.simulation.paths import Paths, people, steady, sticky

ALPHA, LOOKS, BAD = 0.004, 60, 6.0
POWER = [  # margin, times worse, found in at least, the median look
    (1.25, 2, 0.43, None),
    (1.25, 3, 0.99, 15),
    (1.25, 5, 0.99, 5),
    (1.0, 2, 0.87, 31),
]
every_power = pytest.mark.parametrize(("margin", "risk", "least", "median"), POWER)


def found_at(paths: Paths, margin: float) -> list[float]:
    """Return the number of the look that sent each challenger back, without end where none did."""
    says = is_worse(paths, margin, ALPHA)
    return list(np.where(says.any(axis=1), says.argmax(axis=1) + 1.0, np.inf))


def finds_what_is_worse(margin: float, risk: float, least: float, median: int | None, rollouts: int) -> None:
    looks = found_at(steady(np.random.default_rng(1), rollouts, looks=LOOKS, bad_per_look=BAD, weight=0.1, risk=risk), margin)
    print(f"margin {margin:g}, {risk:g} x: {np.isfinite(looks).mean():.4f}, median look {np.median(looks):g}")  # noqa: T201
    assert np.isfinite(looks).mean() >= least
    assert median is None or abs(np.median(looks) - median) <= max(1, 0.1 * median)


@every_power
def test_what_is_worse_is_found_in_a_sample(margin: float, risk: float, least: float, median: int | None) -> None:
    finds_what_is_worse(margin, risk, least, median, 1000)


@pytest.mark.slow
@every_power
def test_what_is_worse_is_found(margin: float, risk: float, least: float, median: int | None) -> None:
    finds_what_is_worse(margin, risk, least, median, 20_000)


@pytest.mark.parametrize(("kind", "least"), [("alike", 0.95), ("unlike", 0.4), ("always", 0.8)])
def test_users_are_found_before_those_who_fail_are_used_up(kind: str, least: float) -> None:
    random = np.random.default_rng(1)
    whose = people(random, 300, 2000, kind)
    step = sticky(random, whose, weight=0.25, risk=3, share=0.05, looks=LOOKS, always=kind == "always")
    assert np.isfinite(found_at(step, 1.25)).mean() >= least
