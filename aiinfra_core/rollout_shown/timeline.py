"""The challenger's part of the traffic over time, told from looks and orders."""

from datetime import datetime, timedelta

from aiinfra_core.domain.rollout import Action, RolloutStatus, Verdict
from aiinfra_core.wire.rollouts import SentRolloutDetails

_LEAST, _BESIDE = timedelta(seconds=10), 0.02


def span(found: SentRolloutDetails) -> tuple[datetime, datetime]:
    """Return when a rollout began, and a little later than when something is last known of it, so that its end can be seen."""
    rollout = found.rollout
    known = rollout.ended_at or max(rollout.updated_at, rollout.looked_at or rollout.updated_at)
    return rollout.created_at, rollout.created_at + max(known - rollout.created_at, _LEAST) * (1 + _BESIDE)


def weights(found: SentRolloutDetails) -> list[tuple[datetime, int]]:
    """Return from when on the challenger had which part of the traffic, of 10,000."""
    rollout, steps = found.rollout, found.rollout.spec.steps
    advanced = [look.created_at for look in found.looks if look.verdict == Verdict.ADVANCE]
    advanced += [order.created_at for order in found.orders if order.action == Action.ADVANCE]
    told = [(rollout.created_at, steps[0])]
    told += [(at, steps[min(step, len(steps) - 1)]) for step, at in enumerate(sorted(advanced), start=1)]
    if rollout.ended_at and rollout.status != RolloutStatus.COMPLETED:
        told.append((rollout.ended_at, 0))
    return told
