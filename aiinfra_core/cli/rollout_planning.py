"""`rollout plan`: how long each step will take, and how soon one that is worse would be found, before anything is begun."""

from collections.abc import Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from aiinfra_core import rollout_specs
from aiinfra_core.canary import planning
from aiinfra_core.canary.planning import StepPlan
from aiinfra_core.cli.output import AsJson, say, say_json, say_table
from aiinfra_core.cli.rollout_typed import SpecFile, Weights, spec_typed
from aiinfra_core.cli.typed import Pairs, values
from aiinfra_core.domain.rollout_spec import RolloutSpec, Unit
from aiinfra_core.errors import BadInput
from aiinfra_core.rollout_shown import words
from aiinfra_core.settings import Settings, environment_named


def plan(
    place: Annotated[str | None, Parameter(metavar="MODEL@ENVIRONMENT", help="Plan what AI_INFRA_ROLLOUTS says for it.")] = None,
    /,
    *,
    per_minute: Annotated[float, Parameter(help="Requests a minute, both arms together; where users are counted, new ones in a step.")],
    bad: Annotated[Pairs, Parameter(metavar="SIGNAL=SHARE", help="The champion's share of bad ones in each signal, such as errors=0.01.")],
    rollout: SpecFile = None,
    weights: Weights = None,
    as_json: AsJson = False,
) -> None:
    """Show what to expect of each step; without a place, a file or weights, of the default rollout."""
    spec = _spec(place, spec_typed(rollout, weights))
    shares = _shares(spec, values("--bad", bad, "errors=0.01"))
    if not 0 < per_minute <= 1e9:
        raise BadInput("--per-minute must be above 0, and 1,000,000,000 at most.")
    steps = planning.plan(spec, per_minute, shares)
    if as_json:
        return say_json({"unit": spec.unit.value, "steps": [_plain(one) for one in steps], "minutes": _altogether(steps)})
    return _say(spec, steps)


def _spec(place: str | None, asked: RolloutSpec | None) -> RolloutSpec:
    if place is None:
        return asked or RolloutSpec()
    model, at, environment = place.partition("@")
    if not at:
        raise BadInput(f"{place!r} is no place; write MODEL@ENVIRONMENT, such as rain@prod.")
    settings = Settings()
    spec = rollout_specs.effective(settings, environment_named(settings, environment), model, asked)
    if spec is None:
        raise BadInput(f"{model} is given all traffic of {environment} at once; say with --weights or --rollout what to plan instead.")
    return spec


def _shares(spec: RolloutSpec, given: Mapping[str, Any]) -> dict[str, float]:
    names = [signal.name for signal in spec.signals]
    if set(given) != set(names):
        raise BadInput(f"--bad must be given once for each signal, which are: {', '.join(names)}.")
    for name, share in given.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise BadInput(f"--bad {name} must be a share between 0 and 1, such as 0.01 for one in a hundred.")
    return {name: float(share) for name, share in given.items()}


def _plain(step: StepPlan) -> dict[str, Any]:
    finds = {signal: {f"{times:g}": minutes for times, minutes in found.items()} for signal, found in step.finds.items()}
    return {"step": step.step, "weight": step.weight, "minutes": step.minutes, "finds": finds}


def _altogether(steps: list[StepPlan]) -> float | None:
    known = [step.minutes for step in steps if step.minutes is not None]
    return sum(known) if len(known) == len(steps) else None


def _say(spec: RolloutSpec, steps: list[StepPlan]) -> None:
    signals = [signal.name for signal in spec.signals]
    found = [[f"{name} {times:g}x" for times in steps[0].finds[name]] for name in signals] if steps else []
    rows = [
        (
            f"{step.step + 1} of {len(spec.weights)}",
            words.share(step.weight),
            _minutes(step.minutes),
            *(_minutes(minutes) for name in signals for minutes in step.finds[name].values()),
        )
        for step in steps
    ]
    say_table(("STEP", "WEIGHT", "GOES ON AFTER", *(heading.upper() for group in found for heading in group)), rows)
    altogether = _altogether(steps)
    if altogether is None:
        say(f"At this traffic it is not over within {spec.deadline_hours:g} hours: it would end without a verdict.")
    else:
        say(f"A challenger as good as the champion has all traffic after {_minutes(altogether)}, on average.")
    unit = "users" if spec.unit is Unit.USER else "requests"
    say(f"Columns with x say when one so many times worse is typically sent back, if it was as bad in all {unit} of that step.")


def _minutes(minutes: float | None) -> str:
    if minutes is None:
        return "too long"
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
