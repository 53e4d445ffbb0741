"""How long a rollout will take at a model's traffic, and how soon it would find a challenger that is worse; before it is begun."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from aiinfra_core.canary import e_process
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec, SignalSpec

TIMES_WORSE = (2, 3, 5)
_POINTS = 2000
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What to expect of a step, in minutes from its start; None where that is more than the whole rollout may take.

    `minutes` is the mean time until a challenger as good as the champion goes on. `finds` is, by signal and by how many times worse than
    the champion a challenger is, the mean time until it is sent back, if it began with this step.
    """

    step: int
    weight: int
    minutes: float | None
    finds: Mapping[str, Mapping[int, float | None]]


def plan(spec: RolloutSpec, units_per_minute: float, bad_shares: Mapping[str, float]) -> list[StepPlan]:
    """Return what to expect of each step but the last, by the traffic and by the champion's share of bad units in each signal.

    Where users are counted, these are users who were not seen in the step before. A signal that is not named is taken to have no bad units,
    with which nothing is ever found. Of a quality signal the bad units are all requests that will be labelled as wrong, as if as much of
    either arm were labelled.
    """
    return [_step(spec, number, units_per_minute, bad_shares) for number in range(len(spec.steps) - 1)]


def _step(spec: RolloutSpec, number: int, units_per_minute: float, bad_shares: Mapping[str, float]) -> StepPlan:
    weight, longest = spec.steps[number] / WHOLE, spec.deadline_hours * 60
    rates = {signal.name: units_per_minute * bad_shares.get(signal.name, 0.0) for signal in spec.signals}
    minutes = _until_all_have_evidence(spec, weight, rates)
    finds = {
        signal.name: {times: _at_most(_until_found(spec, signal, weight, rates[signal.name], times), longest) for times in TIMES_WORSE}
        for signal in spec.signals
    }
    return StepPlan(number, spec.steps[number], _at_most(minutes, longest), finds)


def _at_most(minutes: float, longest: float) -> float | None:
    return minutes if minutes <= longest else None


def _until_all_have_evidence(spec: RolloutSpec, weight: float, rates: Mapping[str, float]) -> float:
    """Return the mean of the time of the last of all signals, of the bake and of the look that sees it: the sum of being not yet there."""
    advancing = [signal for signal in spec.signals if signal.advances]
    if any(rates[signal.name] <= 0 for signal in advancing):
        return math.inf
    passages = [_Passage.of(spec.margin_of(signal), weight, rates[signal.name], spec.advance_alpha) for signal in advancing]
    horizon = max(spec.bake_minutes, 4 * max(passage.mean for passage in passages))
    between = max(spec.look_seconds / 60, horizon / _POINTS)
    return between * math.fsum(_not_yet(spec, passages, between, horizon))


def _not_yet(spec: RolloutSpec, passages: list["_Passage"], between: float, horizon: float) -> Iterator[float]:
    """Yield for the start and each look after it how likely the step is to go on beyond it."""
    for look in range(math.ceil(horizon / between) + 1):
        at = look * between
        yield 1.0 if at < spec.bake_minutes or not look else 1 - math.prod(passage.by(at) for passage in passages)


@dataclass(frozen=True, slots=True)
class _Passage:
    """When a signal's evidence for advancing reaches its limit: first passage of a random walk with drift, by its mean and its shape.

    The inverse Gaussian distribution: A. Wald (1947); R. Chhikara, L. Folks, The Inverse Gaussian Distribution (1989).
    """

    mean: float
    shape: float

    @staticmethod
    def of(margin: float, weight: float, bad_per_minute: float, alpha: float) -> "_Passage":
        on_champion = e_process.as_good(1, 0, weight, margin)
        on_challenger = e_process.as_good(0, 1, weight, margin)
        drift = bad_per_minute * (weight * on_challenger + (1 - weight) * on_champion)
        spread = bad_per_minute * (weight * on_challenger**2 + (1 - weight) * on_champion**2)
        distance = e_process.limit(alpha) + on_champion / 2  # the step that crosses goes beyond by half of itself
        return _Passage(distance / drift, distance**2 / spread)

    def by(self, minutes: float) -> float:
        """Return how likely it is to have happened."""
        root, share = math.sqrt(self.shape / minutes), minutes / self.mean
        return _NORMAL.cdf(root * (share - 1)) + math.exp(2 * self.shape / self.mean) * _NORMAL.cdf(-root * (share + 1))


def _until_found(spec: RolloutSpec, signal: SignalSpec, weight: float, bad_per_minute: float, times: float) -> float:
    """Return the mean time until the evidence that such a challenger gives has reached its limit and a look sees it."""
    margin = spec.margin_of(signal)
    if times <= margin or bad_per_minute <= 0:
        return math.inf
    on_champion, on_challenger = bad_per_minute * (1 - weight), bad_per_minute * weight * times
    champions, challengers = e_process.worse(1, 0, weight, margin), e_process.worse(0, 1, weight, margin)
    per_minute = tuple(on_champion * champions[i] + on_challenger * challengers[i] for i in range(len(champions)))
    between = spec.look_seconds / 60
    return max(between, _reached(per_minute, e_process.limit(signal.alpha)) + between / 2)


def _reached(per_minute: tuple[float, ...], limit: float) -> float:
    """Return after how many minutes the mixture of ratios that grow so fast reaches a limit: the best one alone does sooner."""
    soonest, latest = (limit + more for more in (0, math.log(len(per_minute))))
    low, high = soonest / max(per_minute), latest / max(per_minute)
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        if e_process.mixed(tuple(middle * ratio for ratio in per_minute)) < limit:
            low = middle
        else:
            high = middle
    return high
