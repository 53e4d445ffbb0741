"""Who reports observations of a rollout, so that a look can tell an arm that nobody asks from one that nobody counts any more.

A process that serves reports even while nobody asks it (`serving.outcomes`), and another that never counted anything can say nothing of the
traffic. So an arm is seen while it is counted, by whomever; and while it is not, for as long as those who had counted most of it, when it
was counted last, still report.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, select, text, tuple_

from aiinfra_core.domain.rollout import Arm, Heard, Rollout
from aiinfra_core.registry.rows import every
from aiinfra_core.rollout_tables import rollout_reporters
from aiinfra_core.signals.readings import Unusable
from aiinfra_core.wire.observations import AskedObservations

_REMEMBER = text("""
  INSERT INTO rollout_reporters AS known
    (rollout_id, step, reporter, heard_at, labels, champion, champion_at, challenger, challenger_at)
  VALUES (:rollout, :step, :reporter, :at, :labels,
    :champion, CASE WHEN :champion > 0 THEN CAST(:at AS timestamptz) END,
    :challenger, CASE WHEN :challenger > 0 THEN CAST(:at AS timestamptz) END)
  ON CONFLICT (rollout_id, step, reporter) DO UPDATE SET
    heard_at = greatest(known.heard_at, excluded.heard_at),
    labels = known.labels OR excluded.labels,
    champion = known.champion + excluded.champion, champion_at = greatest(known.champion_at, excluded.champion_at),
    challenger = known.challenger + excluded.challenger, challenger_at = greatest(known.challenger_at, excluded.challenger_at)
""")


@dataclass(frozen=True)
class Counting:
    """A process that counted an arm in a step: when it did last, so many units in all, and when it reported last, be it nothing."""

    counted_at: datetime
    units: int
    heard_at: datetime


@dataclass(frozen=True)
class Reporter:
    """A process that reported of a step: when last, of which arms, and whether it brought labels."""

    heard_at: datetime
    arms: Mapping[Arm, Counting]
    labels: bool


def remember(tx: Connection, rollout: Rollout, reporter: str, asked: AskedObservations, at: datetime) -> None:
    """Keep, in the caller's transaction, who sent a batch, and of how many units of which arm it is."""
    units = {arm: sum(one.units for one in asked.counts if one.arm is arm) for arm in Arm}
    seen = {arm.value: count + sum(one.arm is arm for one in asked.users) for arm, count in units.items()}
    labels = any(one.labelled for one in asked.counts) or any(one.labelled for one in asked.users)
    tx.execute(_REMEMBER, {"rollout": rollout.id, "step": asked.step, "reporter": reporter, "at": at, "labels": labels, **seen})


def of_steps(connection: Connection, rollouts: Sequence[Rollout]) -> Mapping[UUID, list[Reporter]]:
    """Return who reported of each of these rollouts in the step it is in."""
    table, found = rollout_reporters.c, defaultdict(list)
    here = tuple_(table.rollout_id, table.step).in_([(one.id, one.step) for one in rollouts])
    for row in every(connection, select(rollout_reporters).where(here)):
        counted = {arm: row[f"{arm}_at"] for arm in Arm}
        arms = {arm: Counting(at, row[arm.value], row["heard_at"]) for arm, at in counted.items() if at is not None}
        found[row["rollout_id"]].append(Reporter(row["heard_at"], arms, row["labels"]))
    return found


def seen_until(reporters: Sequence[Reporter], arm: Arm, at: datetime, limit: timedelta) -> datetime:
    """Return until when an arm was seen: counted, or said not to be asked by those who had counted most of it.

    Those are meant who still reported when it was counted last; `limit` is after how long a process that reports nothing is gone.

    Raises:
        Unusable: it was not counted in this step, or not seen for longer than the limit.
    """
    counting = [one.arms[arm] for one in reporters if arm in one.arms]
    if not counting:
        raise Unusable(Heard.NO_DATA, f"nothing was counted of the {arm} in this step")
    last = max(one.counted_at for one in counting)
    then = [one for one in counting if last - one.heard_at <= limit]
    until = max(last, _most_heard(then))
    if at - until > limit:
        there = sum(at - one.heard_at <= limit for one in then)
        nobody = f"the {arm} was counted last {(at - last).total_seconds():.0f} s ago"
        raise Unusable(Heard.LATE, f"{nobody}, and of the {len(then)} that counted it then {there} still report; {_too_old(limit)}")
    return until


def heard_until(reporters: Sequence[Reporter], at: datetime, limit: timedelta) -> datetime:
    """Return when any who counted or labelled something reported last; labels come as late as they come.

    Raises:
        Unusable: none did in this step, or not for longer than the limit.
    """
    until = max((one.heard_at for one in reporters if one.arms or one.labels), default=None)
    if until is None:
        raise Unusable(Heard.NO_DATA, "nothing was counted in this step")
    if at - until > limit:
        raise Unusable(Heard.LATE, f"those who counted reported last {(at - until).total_seconds():.0f} s ago; {_too_old(limit)}")
    return until


def _most_heard(counting: Sequence[Counting]) -> datetime:
    """Return until when those who counted more than half of the units were all heard from."""
    left = sum(one.units for one in counting) / 2
    for one in sorted(counting, key=lambda one: one.heard_at, reverse=True):
        left -= one.units
        if left < 0:
            return one.heard_at
    return min(one.heard_at for one in counting)


def _too_old(limit: timedelta) -> str:
    return f"more than {limit.total_seconds():.0f} s is too old"
