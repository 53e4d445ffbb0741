"""What every source of numbers makes a reading of: counts that can be believed, or why there are none. Nothing unclear is `ok`."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from aiinfra_core.domain.rollout import Arm, Counts, Heard, Reading
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalSpec

ENOUGH_UNITS = 200
"""So much of the champion has to be seen before it is known what is slow for it."""
_LEAST_LATE_SECONDS = 120.0
_LATE_LOOKS = 3
_MOST_COUNT = 2**53 - 1  # what canonical JSON holds exactly
_MOST_REASON = 300
_MOST_SAID = 200
Numbers = Mapping[Arm, tuple[int, int]]
"""Of each arm, its units and how many of them were bad."""


class Unusable(Exception):
    """Why a signal said nothing usable; it never leaves a source of numbers."""

    def __init__(self, heard: Heard, reason: str) -> None:
        super().__init__(reason)
        self.heard = heard

    def reading(self, signal: SignalSpec, query: str | None = None) -> Reading:
        """Return the reading that says so."""
        return Reading(signal=signal.name, heard=self.heard, reason=_printable(str(self)[:_MOST_REASON]), query=query)


def said(value: Any) -> str:
    """Return what somebody else said, to be quoted in a reason: 200 printable letters of it at most."""
    return _printable((value if isinstance(value, str) else repr(value))[:_MOST_SAID])


def counted(
    signal: SignalSpec,
    numbers: Numbers,
    *,
    previous: Reading | None = None,
    through: datetime,
    seconds: float | None = None,
    query: str | None = None,
) -> Reading:
    """Return a usable reading; counts are since the step began, and `previous` is of the same step.

    Raises:
        Unusable: an arm was not seen, or its counts are impossible or fewer than they had been.
    """
    champion, challenger = (_counts(arm, *numbers.get(arm, (0, 0))) for arm in Arm)
    if previous is not None and previous.champion is not None and previous.challenger is not None:
        _check_not_fewer(Arm.CHAMPION, champion, previous.champion)
        _check_not_fewer(Arm.CHALLENGER, challenger, previous.challenger)
    return Reading(
        signal=signal.name, heard=Heard.OK, champion=champion, challenger=challenger, query=query, seconds=seconds, through=through
    )


def warming_up(signal: SignalSpec, seen: int, *, seconds: float | None = None, query: str | None = None) -> Reading:
    """Return the reading of a latency that is not frozen yet; `seconds` is what is to be frozen now, where enough was seen."""
    missing = f"{seen} of the {ENOUGH_UNITS} units of the champion were seen that are needed to know what is slow for it"
    reason = missing if seconds is None else f"from now on slower than {seconds:g} s is slow: {seen} units of the champion were seen"
    return Reading(signal=signal.name, heard=Heard.WARMING_UP, reason=reason, query=query, seconds=seconds)


def threshold(signal: SignalSpec, frozen: Mapping[str, float] | None) -> float | None:
    """Return above how many seconds a latency is bad, None where that is not known yet."""
    return signal.seconds if signal.seconds is not None else (frozen or {}).get(signal.name)


def check_fresh(spec: RolloutSpec, newest: datetime, at: datetime) -> None:
    """See that what was counted last is not too old, nor of a time to come.

    Raises:
        Unusable: it is.
    """
    limit = late_after(spec)
    if newest - at > limit:  # it would not be late for so long
        raise Unusable(Heard.MALFORMED, f"the newest that was counted is of {newest.isoformat(timespec='seconds')}, which is yet to come")
    if at - newest > limit:
        age = (at - newest).total_seconds()
        raise Unusable(Heard.LATE, f"the newest that was counted is {age:.0f} s old; more than {limit.total_seconds():.0f} s is too old")


def late_after(spec: RolloutSpec) -> timedelta:
    """Return after how long what was counted last is too old: three looks, two minutes at least."""
    return timedelta(seconds=max(_LEAST_LATE_SECONDS, _LATE_LOOKS * spec.look_seconds))


def _counts(arm: Arm, units: int, bad: int) -> Counts:
    if units < 0 or bad < 0:
        raise Unusable(Heard.NEGATIVE, f"of the {arm} {min(units, bad)} units were counted")
    if units > _MOST_COUNT:
        raise Unusable(Heard.MALFORMED, f"of the {arm} more units were counted than can be")
    if bad > units:
        raise Unusable(Heard.MALFORMED, f"of the {arm} {bad} of {units} units were bad, which is more than there were")
    if not units:
        raise Unusable(Heard.NO_DATA, f"nothing was counted of the {arm} in this step")
    return Counts(units=units, bad=bad)


def _check_not_fewer(arm: Arm, now: Counts, before: Counts) -> None:
    if now.units < before.units or now.bad < before.bad:
        fewer = f"{now.bad} bad of {now.units} units now, {before.bad} of {before.units} at the look before"
        raise Unusable(Heard.DECREASING, f"the counts of the {arm} went down: {fewer}")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)
