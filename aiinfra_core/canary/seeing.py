"""What a look is told besides the numbers: at which step of a rollout it is made, and when."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from aiinfra_core.domain.rollout import Action, Heard, Judgement, Look, Reading, Rollout, RolloutOrder, RolloutStatus, Verdict
from aiinfra_core.errors import EvidenceBroken

_SPEAKS = frozenset({Heard.OK, Heard.WARMING_UP})


@dataclass(frozen=True, slots=True)
class Seen:
    """Which look it is, at which step, at what time; when the rollout and its step began, and when all signals last said something."""

    number: int
    step: int
    at: datetime
    created_at: datetime
    step_started_at: datetime
    heard_at: datetime
    paused: bool


def seen(rollout: Rollout, at: datetime) -> Seen:
    """Return what the next look at an open rollout is told."""
    paused = rollout.status is RolloutStatus.PAUSED
    return Seen(rollout.looks + 1, rollout.step, at, rollout.created_at, rollout.step_started_at, rollout.heard_at, paused)


def was_heard(look: Look) -> bool:
    """Return whether nothing was silent at a look; `heard_at` is then the time of this look."""
    return speaks(look.readings, look.judged)


def speaks(readings: Sequence[Reading], judged: Judgement) -> bool:
    """Return whether every signal says something, a champion not seen often enough yet included, and traffic is split as it should be."""
    return all(reading.heard in _SPEAKS for reading in readings) and judged.sample_ratio < judged.sample_ratio_at


def story(rollout: Rollout, looks: Iterable[Look], orders: Sequence[RolloutOrder] = ()) -> Iterator[tuple[Seen, Look]]:
    """Yield each look of a rollout, in order, with what it was told: from the looks and orders before it.

    Raises:
        EvidenceBroken: something was ordered about another step than the one it was at.
    """
    now = Seen(0, 0, rollout.created_at, rollout.created_at, rollout.created_at, rollout.created_at, False)
    waiting = sorted(orders, key=lambda order: order.created_at)
    for look in looks:
        while waiting and waiting[0].created_at < look.created_at:
            now = _ordered(now, waiting.pop(0))
        now = replace(now, number=now.number + 1, at=look.created_at)
        yield now, look
        now = _looked(now, look)
    for order in waiting:
        now = _ordered(now, order)


def _ordered(now: Seen, order: RolloutOrder) -> Seen:
    if order.step != now.step:
        raise EvidenceBroken("rollout", f"an order to {order.action} it is about step {order.step + 1}, and it was at step {now.step + 1}.")
    if order.action is Action.ADVANCE:
        return replace(now, step=now.step + 1, step_started_at=order.created_at, heard_at=order.created_at)
    return replace(now, paused=order.action is Action.PAUSE) if order.action in (Action.PAUSE, Action.RESUME) else now


def _looked(now: Seen, look: Look) -> Seen:
    if look.verdict is Verdict.ADVANCE:
        return replace(now, step=now.step + 1, step_started_at=look.created_at, heard_at=look.created_at)
    return replace(now, heard_at=look.created_at) if was_heard(look) else now
