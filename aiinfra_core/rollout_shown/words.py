"""A rollout in sentences."""

from collections.abc import Sequence

from aiinfra_core.domain.rollout import Action, RolloutStatus
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec
from aiinfra_core.wire.approvals import SentBack
from aiinfra_core.wire.rollouts import SentCounts, SentHeard, SentLook, SentOrder, SentRollout

STATES: dict[str, str] = {
    RolloutStatus.RUNNING: "running",
    RolloutStatus.PAUSED: "paused",
    RolloutStatus.COMPLETED: "completed",
    RolloutStatus.ROLLED_BACK: "rolled back",
    RolloutStatus.INCONCLUSIVE: "inconclusive",
    RolloutStatus.ABORTED: "aborted",
    RolloutStatus.SUPERSEDED: "superseded",
}
_ENDS: dict[str, str] = {
    RolloutStatus.COMPLETED: "got all traffic of",
    RolloutStatus.ROLLED_BACK: "was sent back from",
    RolloutStatus.INCONCLUSIVE: "went back without a verdict from",
    RolloutStatus.ABORTED: "was taken back from",
    RolloutStatus.SUPERSEDED: "was superseded in",
}


def name(rollout: SentRollout) -> str:
    """Return the version that is rolled out."""
    return f"{rollout.model}:{rollout.challenger_version}"


def champion(rollout: SentRollout) -> str:
    """Return the version that was current when it began."""
    return f"{rollout.model}:{rollout.champion_version}"


def share(weight: int) -> str:
    """Return a weight, of 10,000, in per cent."""
    return f"{weight * 100 / WHOLE:g} %"


def sentence(rollout: SentRollout) -> str:
    """Return how a rollout stands."""
    if not rollout.is_open:
        return f"{name(rollout)} {_ENDS.get(rollout.status, f'ended {rollout.status} in')} {rollout.environment}."
    paused = " It is paused: it may go back, but does not advance." if rollout.status == RolloutStatus.PAUSED else ""
    has = f"{name(rollout)} has {share(rollout.weight)} of the traffic of {rollout.environment}, {champion(rollout)} the rest"
    return f"{has}; step {rollout.step + 1} of {len(rollout.spec.weights)}.{paused}"


def terms(spec: RolloutSpec) -> str:
    """Return by what a challenger earns its traffic."""
    steps = " → ".join(f"{weight:g} %" for weight in spec.weights)
    signals = ", ".join(signal.name for signal in spec.signals)
    return f"{steps} by {spec.unit}, judged by {signals}; margin {spec.margin:g}, deadline {spec.deadline_hours:g} h"


def sent_back(one: SentBack) -> str:
    """Return which rollout had sent the same bytes back, when and why."""
    return f"by rollout {one.rollout} at {one.ended_at:%Y-%m-%d %H:%M} UTC: {one.reason}"


def tried(tries: int) -> str:
    """Return how often the same bytes were tried to no end."""
    return f"{tries} rollout{'' if tries == 1 else 's'} of these bytes came to nothing there"


def why(rollout: SentRollout, looks: Sequence[SentLook], orders: Sequence[SentOrder] = ()) -> str:
    """Return why it ended, or who advanced it, or what the newest look says."""
    if rollout.reason:
        return rollout.reason
    order = next((one for one in reversed(orders) if one.action == Action.ADVANCE), None)
    if order and not is_looked_at(rollout, looks) and not (looks and looks[-1].created_at > order.created_at):
        return f"advanced by {order.ordered_by}: {order.reason}; not looked at since"
    return looks[-1].reason if looks else "Nobody has looked at it yet."


def is_looked_at(rollout: SentRollout, looks: Sequence[SentLook]) -> bool:
    """Say whether the newest look is of the step a rollout is at, or ended at."""
    return bool(looks) and (not rollout.is_open or looks[-1].step == rollout.step)


def bad_share(heard: SentHeard) -> str:
    """Return what a signal counted, or why it cannot be used."""
    if heard.challenger is None or heard.champion is None:
        return f"{heard.heard.replace('_', ' ')}{f': {heard.reason}' if heard.reason else ''}"
    return bad_so_far(heard)


def bad_so_far(heard: SentHeard) -> str:
    """Return how many units of each arm were bad in the step, as far as they were counted."""
    arms = (("challenger", heard.challenger), ("champion", heard.champion))
    return ", ".join(f"{arm} {one.bad:,} of {one.units:,}" for arm, one in arms if one)


def counted(counts: SentCounts | None) -> str:
    """Return how many units of an arm were bad."""
    if counts is None:
        return ""
    return f"{counts.bad:,} of {counts.units:,}" + (f" ({counts.bad * 100 / counts.units:.3g} %)" if counts.units else "")
