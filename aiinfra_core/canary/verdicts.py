"""What follows from a look's numbers, and why, in a sentence: anything but clear evidence is hold, and none in time is inconclusive."""

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta

from aiinfra_core.canary.e_process import CLEARLY_WORSE
from aiinfra_core.canary.seeing import Seen, speaks
from aiinfra_core.domain.rollout import Counts, Heard, Judged, Judgement, Reading, Verdict
from aiinfra_core.domain.rollout_spec import Inconclusive, RolloutSpec, SignalKind, SignalSpec

_HUGE, _TINY = 1e9, 0.01


def verdict_of(spec: RolloutSpec, seen: Seen, readings: Sequence[Reading], judged: Judgement) -> tuple[Verdict, str]:
    """Return the verdict and its reason: the first that applies of going back, being silent, being late, and advancing.

    `readings` are as the judge believes them, in the order of the spec's signals. Where traffic is not split as it should be, only the
    absolute limit still sends a challenger back.
    """
    worse = _killed(spec, readings) or _worse(spec, readings, judged)
    if worse:
        return Verdict.ROLLBACK, worse
    unusable = "; ".join(_unusable(spec, seen, readings, judged))
    silent = seen.at - max(seen.heard_at, seen.step_started_at)
    if not speaks(readings, judged) and silent >= timedelta(minutes=spec.silent_minutes):
        return Verdict.INCONCLUSIVE, f"nothing usable was heard for {_time(silent)}: {unusable}"
    if seen.at - seen.created_at >= timedelta(hours=spec.deadline_hours):
        late = f"{_time(timedelta(hours=spec.deadline_hours))} have passed without the evidence to go on"
        return (Verdict.INCONCLUSIVE if spec.when_inconclusive is Inconclusive.RETURN else Verdict.HOLD), late
    missing = unusable or _missing(spec, seen, judged)
    return (Verdict.HOLD, missing) if missing else (Verdict.ADVANCE, _as_good(spec, judged))


def _killed(spec: RolloutSpec, readings: Sequence[Reading]) -> str:
    failed = [
        f"{signal.name}: {_share(counts)} of the challenger failed in this step; {spec.kill_share:.0%} sends it back at once"
        for signal, counts in zip(spec.signals, (reading.challenger for reading in readings), strict=True)
        if signal.kind is SignalKind.ERRORS and counts is not None
        if counts.units >= spec.kill_units and counts.bad >= spec.kill_share * counts.units
    ]
    return "; ".join(failed)


def _worse(spec: RolloutSpec, readings: Sequence[Reading], judged: Judgement) -> str:
    if judged.sample_ratio >= judged.sample_ratio_at:
        return ""
    return "; ".join(
        f"{signal.name}: the challenger is worse than {spec.margin_of(signal):g} times the champion: the evidence is "
        f"{_evidence(numbers.rollback, numbers.rollback_at)}{_in_this_step(numbers)}"
        for signal, reading, numbers in _each(spec, readings, judged)
        if reading.heard is Heard.OK and numbers.rollback >= numbers.rollback_at
    )


def _unusable(spec: RolloutSpec, seen: Seen, readings: Sequence[Reading], judged: Judgement) -> Iterator[str]:
    for reading in readings:
        if reading.heard is not Heard.OK:
            yield f"{reading.signal}: {reading.heard.value}" + (f", {reading.reason}" if reading.reason else "")
    if judged.sample_ratio >= judged.sample_ratio_at:
        units = "; ".join(_units(numbers) for numbers in judged.signals)
        yield (
            f"traffic is not split as it should be, {spec.weights[seen.step]:g} % to the challenger ({units}): the evidence is "
            f"{_evidence(judged.sample_ratio, judged.sample_ratio_at)}, so the arms cannot be compared"
        )


def _missing(spec: RolloutSpec, seen: Seen, judged: Judgement) -> str:
    """Return what is still missing for going on to the next step, or nothing."""
    baked, least = seen.at - seen.step_started_at, timedelta(minutes=spec.bake_minutes)
    if baked < least:
        return f"{_time(baked)} of at least {_time(least)} have passed"
    short = [numbers for _, numbers in _advancing(spec, judged) if numbers.advance < numbers.advance_at]
    if short:
        lacking = "; ".join(f"{n.signal} ({_evidence(n.advance, n.advance_at)}{_in_this_step(n)})" for n in short)
        return f"not enough evidence yet that the challenger is as good as the champion in {lacking}"
    return "the evidence to go on is there, but the rollout is paused" if seen.paused else ""


def _as_good(spec: RolloutSpec, judged: Judgement) -> str:
    each = "; ".join(
        f"{signal.name}: bad less than {CLEARLY_WORSE * spec.margin_of(signal):g} times as often as the champion "
        f"({_evidence(numbers.advance, numbers.advance_at)}{_in_this_step(numbers)})"
        for signal, numbers in _advancing(spec, judged)
    )
    return f"every signal has its evidence: {each}"


def _advancing(spec: RolloutSpec, judged: Judgement) -> list[tuple[SignalSpec, Judged]]:
    return [(signal, numbers) for signal, numbers in zip(spec.signals, judged.signals, strict=True) if signal.advances]


def _each(spec: RolloutSpec, readings: Sequence[Reading], judged: Judgement) -> Iterator[tuple[SignalSpec, Reading, Judged]]:
    return zip(spec.signals, readings, judged.signals, strict=True)


def _in_this_step(numbers: Judged) -> str:
    if numbers.champion is None or numbers.challenger is None:
        return ""
    return f"; bad in this step: challenger {_share(numbers.challenger)}, champion {_share(numbers.champion)}"


def _share(counts: Counts) -> str:
    return f"{counts.bad:,} of {counts.units:,} units ({counts.bad / max(counts.units, 1):.2%})"


def _units(numbers: Judged) -> str:
    champion, challenger = (0 if counts is None else counts.units for counts in (numbers.champion, numbers.challenger))
    return f"{numbers.signal}: {challenger:,} of {champion + challenger:,} units"


def _evidence(log: float, limit: float) -> str:
    return f"{_e(log)} where {_e(limit)} is the limit"


def _e(log: float) -> str:
    if log > math.log(_HUGE):
        return "more than 10^9"
    value = math.exp(log)
    return "less than 0.01" if value < _TINY else f"{float(f'{value:.3g}'):,.10g}"


def _time(passed: timedelta) -> str:
    seconds = passed.total_seconds()
    if seconds < 60:
        return f"{seconds:.3g} s"
    hours, minutes, seconds = int(seconds // 3600), int(seconds // 60 % 60), int(seconds % 60)
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else seconds, "s"))
    return " ".join(f"{part} {unit}" for part, unit in parts if part)
