"""Whether the looks of a rollout say what their own numbers say: every look judged once more from what was read."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from aiinfra_core.canary.judging import judge
from aiinfra_core.canary.seeing import Seen
from aiinfra_core.domain.rollout import Judged, Judgement, Look
from aiinfra_core.domain.rollout_spec import RolloutSpec

_CLOSE = 1e-6  # mathematical functions differ in the last digits between machines


def recompute(spec: RolloutSpec, story: Iterable[tuple[Seen, Look]]) -> list[str]:
    """Return how looks, in order and from the first, differ from what judging their readings again says; nothing when they do not.

    A reason is words about these numbers, which may be put in other words by a later release, and is not compared.
    """
    found: list[str] = []
    again: Look | None = None  # what is judged again, never what is claimed, is what the next look begins with
    for number, (seen, look) in enumerate(story, 1):
        if not 0 <= seen.step < len(spec.steps) - 1:
            return [*found, f"look {number} is at step {seen.step}, which is none a look is made at"]
        again = judge(spec, replace(seen, number=number), again, look.readings)
        found += [f"look {number}: {difference}" for difference in _differences(again, look)]
    return found


def _differences(again: Look, look: Look) -> Iterator[str]:
    for name in ("number", "step", "weight", "created_at", "readings"):
        if getattr(again, name) != getattr(look, name):
            yield f"it differs in its {name.replace('_', ' ')} from what came before it"
    if again.verdict is not look.verdict:
        yield f"it says {look.verdict.value}, its numbers say {again.verdict.value} ({again.reason})"
    yield from (f"its readings give another {what}" for what in _otherwise(again.judged, look.judged))


def _otherwise(again: Judgement, judged: Judgement) -> Iterator[str]:
    if not _close((again.sample_ratio, again.sample_ratio_at), (judged.sample_ratio, judged.sample_ratio_at)):
        yield "sample ratio"
    if len(again.signals) != len(judged.signals):
        yield "list of signals"
        return
    for mine, theirs in zip(again.signals, judged.signals, strict=True):
        if not _same(mine, theirs):
            yield f"evidence in {mine.signal}"


def _same(mine: Judged, theirs: Judged) -> bool:
    counted = (mine.signal, mine.champion, mine.challenger) == (theirs.signal, theirs.champion, theirs.challenger)
    return counted and _close(_numbers(mine), _numbers(theirs))


def _numbers(of: Judged) -> tuple[float, ...]:
    return (*of.ratios, of.rollback, of.rollback_at, of.advance, of.advance_at)


def _close(mine: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    return len(mine) == len(theirs) and all(math.isclose(a, b, rel_tol=_CLOSE, abs_tol=_CLOSE) for a, b in zip(mine, theirs, strict=True))
