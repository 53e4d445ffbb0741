"""How a rollout and a rollback look to the rules of a policy: plain data, the same whether it is judged now or again by an auditor."""

from collections.abc import Mapping
from typing import Any

from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec


def rollout(spec: RolloutSpec | None, *, from_operator: bool = False) -> dict[str, Any] | None:
    """Return by what a promotion is to earn its traffic; None where it gets all of it at once.

    Weights are in per cent; `from_operator` says whether that is, word for word, what the operator's file says for its place.
    """
    if spec is None or spec.at_once:
        return None
    return {
        "digest": spec.digest(),
        "fromOperator": from_operator,
        "weights": list(spec.weights),
        "unit": spec.unit.value,
        "saltGiven": spec.salt is not None,
        "bakeMinutes": spec.bake_minutes,
        "deadlineHours": spec.deadline_hours,
        "lookSeconds": spec.look_seconds,
        "silentMinutes": spec.silent_minutes,
        "whenInconclusive": spec.when_inconclusive.value,
        "margin": spec.margin,
        "advanceAlpha": spec.advance_alpha,
        "killShare": spec.kill_share,
        "killUnits": spec.kill_units,
        "signals": [_signal(spec, one) for one in spec.signals],
    }


def _signal(spec: RolloutSpec, one: SignalSpec) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind.value,
        "source": one.source,
        "alpha": one.alpha,
        "margin": spec.margin_of(one),
        "quantile": one.quantile,
        "seconds": one.seconds,
        "advances": one.advances,
    }


def overrides(rollout_id: str, reason: str | None, ended_at: str) -> dict[str, Any]:
    """Return which rollout is overridden, what sent the same bytes back in it, and when."""
    return {"rollout": rollout_id, "reason": reason, "endedAt": ended_at}


def rollback(reason: str, from_version: int, to_version: int) -> dict[str, Any]:
    """Return why a promotion goes back, from which version and to which."""
    return {"reason": reason, "fromVersion": from_version, "toVersion": to_version}


def is_rollback(inputs: Mapping[str, Any]) -> bool:
    """Say whether what rules see is a promotion that goes back; those recorded before there were any are not."""
    return inputs.get("rollback") is not None
