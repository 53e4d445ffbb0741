"""How a rollout and a rollback look to the rules of a policy: plain data, the same whether it is judged now or again by an auditor."""

from collections.abc import Mapping
from typing import Any

from aiinfra_core.domain.rollout_spec import RolloutSpec


def rollout(spec: RolloutSpec | None) -> dict[str, Any] | None:
    """Return by what a promotion is to earn its traffic, weights in per cent; None where it gets all of it at once."""
    if spec is None or spec.at_once:
        return None
    return {
        "digest": spec.digest(),
        "weights": list(spec.weights),
        "unit": spec.unit.value,
        "bakeMinutes": spec.bake_minutes,
        "signals": [
            {"name": one.name, "kind": one.kind.value, "source": one.source, "alpha": one.alpha, "margin": spec.margin_of(one)}
            for one in spec.signals
        ],
    }


def rollback(reason: str, from_version: int, to_version: int) -> dict[str, Any]:
    """Return why a promotion goes back, from which version and to which."""
    return {"reason": reason, "fromVersion": from_version, "toVersion": to_version}


def is_rollback(inputs: Mapping[str, Any]) -> bool:
    """Say whether what rules see is a promotion that goes back; those recorded before there were any are not."""
    return inputs.get("rollback") is not None
