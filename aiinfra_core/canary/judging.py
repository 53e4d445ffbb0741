"""One look at a rollout: readings in, numbers and a verdict out; pure and deterministic."""

from collections.abc import Mapping, Sequence

from aiinfra_core.canary import e_process
from aiinfra_core.canary.seeing import Seen
from aiinfra_core.canary.verdicts import verdict_of
from aiinfra_core.domain.rollout import Counts, Heard, Judged, Judgement, Look, Reading
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec, SignalKind, SignalSpec, Unit

_NOTHING = Counts(units=0, bad=0)


def judge(spec: RolloutSpec, seen: Seen, previous: Look | None, readings: Sequence[Reading]) -> Look:
    """Return a look at a step at which the challenger has less than all traffic.

    `previous` is the look before, of whatever step; counts in `readings` began at 0 with this step. A signal without a reading was not
    heard, and one whose counts went down is not believed.
    """
    before = {} if previous is None else {judged.signal: judged for judged in previous.judged.signals}
    anew = previous is None or previous.step != seen.step
    last = {} if previous is None or anew else {reading.signal: reading for reading in previous.readings}
    weight = spec.steps[seen.step]
    told = {reading.signal: reading for reading in readings}
    signals, kept = [], []
    for signal in spec.signals:
        earlier = _begun(spec, signal, before, anew)
        reading = _believed(signal, told.get(signal.name), last.get(signal.name), earlier)
        kept.append(reading)
        signals.append(_judged(spec, signal, earlier, reading, weight / WHOLE))
    judgement = _with_split(spec, tuple(signals), weight / WHOLE)
    verdict, reason = verdict_of(spec, seen, kept, judgement)
    return Look(
        number=seen.number,
        step=seen.step,
        weight=weight,
        readings=tuple(kept),
        judged=judgement,
        verdict=verdict,
        reason=reason,
        created_at=seen.at,
    )


def _begun(spec: RolloutSpec, signal: SignalSpec, before: Mapping[str, Judged], anew: bool) -> Judged:
    """Return where a signal stood before this look: in a new step, what speaks for going back is kept and the rest begins anew.

    Nothing is kept of users: those of an earlier step come again, the same arm's, and would be counted twice. Each step then has a share of
    the alpha.
    """
    earlier = before.get(signal.name)
    if earlier is not None and not anew:
        return earlier
    kept = None if spec.unit is Unit.USER else earlier
    alpha = signal.alpha / (len(spec.steps) - 1) if spec.unit is Unit.USER else signal.alpha
    return Judged(
        signal=signal.name,
        ratios=(0.0,) * len(e_process.RISKS) if kept is None else kept.ratios,
        rollback=0.0 if kept is None else kept.rollback,
        rollback_at=e_process.limit(alpha),
        advance=0.0,
        advance_at=e_process.limit(spec.advance_alpha),
    )


def _believed(signal: SignalSpec, reading: Reading | None, last: Reading | None, earlier: Judged) -> Reading:
    """Return a reading as the judge takes it: without counts that are missing, impossible or fewer than there had been."""
    if reading is None:
        return Reading(signal=signal.name, heard=Heard.NO_DATA, reason="it was not read")
    if reading.heard is not Heard.OK:
        return _without(reading, reading.heard, reading.reason)
    if reading.champion is None or reading.challenger is None:
        return _without(reading, Heard.MALFORMED, "it has no counts")
    for now in (reading.champion, reading.challenger):
        if now.bad > now.units:
            return _without(reading, Heard.MALFORMED, f"{now.bad} of {now.units} units were bad")
    if reading.champion.units + reading.challenger.units == 0:
        return _without(reading, Heard.NO_DATA, "no units were counted in this step yet")
    fewer = _fewer(reading, last) or _fewer(reading, earlier)
    if fewer:
        return _without(reading, Heard.DECREASING, f"counts went down within a step: {fewer}")
    changed = _labels_changed(reading, earlier) if signal.kind is SignalKind.QUALITY else ""
    return _without(reading, Heard.MALFORMED, changed) if changed else reading


def _fewer(reading: Reading, before: Reading | Judged | None) -> str:
    """Return which counts are fewer than they were, or nothing."""
    for now, then in () if before is None else ((reading.champion, before.champion), (reading.challenger, before.challenger)):
        if now is not None and then is not None and (now.units < then.units or now.bad < then.bad):
            return f"{then.bad} of {then.units} units were bad, then {now.bad} of {now.units}"
    return ""


def _labels_changed(reading: Reading, earlier: Judged) -> str:
    """Return where more answers became wrong ones than were labelled since labels were counted last, or nothing."""
    for units, bad in _new(reading, earlier):
        if bad > units:
            return f"{bad} more answers are wrong where {units} more were labelled; a label has to be final before it is counted"
    return ""


def _without(reading: Reading, heard: Heard, reason: str | None) -> Reading:
    seconds = reading.seconds if heard is reading.heard else None  # above how many seconds nothing is counted
    return reading.model_copy(update={"heard": heard, "reason": reason, "champion": None, "challenger": None, "seconds": seconds})


def _judged(spec: RolloutSpec, signal: SignalSpec, earlier: Judged, reading: Reading, weight: float) -> Judged:
    """Return where a signal stands after a reading: the bad units since the last that counted are added at the share that was at risk."""
    if reading.champion is None or reading.challenger is None:
        return earlier
    (of_champion, champion), (of_challenger, challenger) = _new(reading, earlier)
    if signal.kind is SignalKind.QUALITY:
        if not (of_champion and of_challenger):
            return earlier  # labels of one arm wait for the other's: alone they compare nothing
        weight = of_challenger / (of_champion + of_challenger)
    elif spec.unit is Unit.USER:
        weight = _share_at_risk(reading.champion, reading.challenger, earlier)
    margin = spec.margin_of(signal)
    more = e_process.worse(champion, challenger, weight, margin)
    ratios = tuple(kept + new for kept, new in zip(earlier.ratios, more, strict=True))
    advance = earlier.advance + e_process.as_good(champion, challenger, weight, margin)
    moved = {"ratios": ratios, "rollback": e_process.mixed(ratios), "advance": advance}
    return earlier.model_copy(update=moved | {"champion": reading.champion, "challenger": reading.challenger})


def _new(reading: Reading, earlier: Judged) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many units, and how many bad ones, champion and challenger have had since they were counted last."""
    now = (reading.champion or _NOTHING, reading.challenger or _NOTHING)
    then = (earlier.champion or _NOTHING, earlier.challenger or _NOTHING)
    champion, challenger = ((a.units - b.units, a.bad - b.bad) for a, b in zip(now, then, strict=True))
    return champion, challenger


def _share_at_risk(champion: Counts, challenger: Counts, earlier: Judged) -> float:
    """Return the challenger's share of the users who were not bad before."""
    at_risk = challenger.units - (earlier.challenger or _NOTHING).bad
    others = champion.units - (earlier.champion or _NOTHING).bad
    return at_risk / (at_risk + others) if at_risk else 0.0


def _with_split(spec: RolloutSpec, signals: tuple[Judged, ...], weight: float) -> Judgement:
    """Return the whole judgement: with the split of the signal in which it is worst, at a limit for all that are looked at together.

    Labels come late, and later for one arm than for the other: how many came says how traffic is split only where nothing else does.
    """
    told = [judged for signal, judged in zip(spec.signals, signals, strict=True) if signal.kind is not SignalKind.QUALITY] or list(signals)
    counted = [(judged.champion.units, judged.challenger.units) for judged in told if judged.champion and judged.challenger]
    worst = max((e_process.sample_ratio(*units, weight) for units in counted), default=0.0)
    return Judgement(signals=signals, sample_ratio=worst, sample_ratio_at=e_process.limit(e_process.SPLIT_ALPHA / len(told)))
