"""What serving processes observed of an open rollout: each batch is counted once, and a look reads the sums of its step.

It proves nothing by itself, so no event tells of it: each look keeps the counts it saw.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.columns import MOMENT
from aiinfra_core.domain.latency import bin_of, upper_seconds
from aiinfra_core.domain.rollout import OPEN, Arm, Heard, Reading, Rollout
from aiinfra_core.domain.rollout_spec import SignalKind, SignalSpec, Unit
from aiinfra_core.errors import BadInput, RequestIdReused
from aiinfra_core.registry import reporters
from aiinfra_core.registry.reporters import Reporter
from aiinfra_core.registry.rows import every
from aiinfra_core.rollout_tables import rollout_batches, rollout_counts, rollout_units
from aiinfra_core.signals.readings import ENOUGH_UNITS, Numbers, Unusable, counted, late_after, threshold, warming_up
from aiinfra_core.wire.observations import AskedObservations, ObservedCounts, ObservedUser

_LATENCY = "latency:"
_TAKEN_AT = func.coalesce(bindparam("at", type_=MOMENT), func.statement_timestamp())
_NEW_BATCH = insert(rollout_batches).values(created_at=_TAKEN_AT).on_conflict_do_nothing().returning(rollout_batches.c.created_at)
# Rows are locked in one order, so that no two batches wait for each other.
_ADD = text("""
  INSERT INTO rollout_counts (rollout_id, step, arm, kind, count)
  SELECT :rollout, :step, * FROM unnest(CAST(:arms AS text[]), CAST(:kinds AS text[]), CAST(:counts AS bigint[])) AS new (arm, kind, count)
  ORDER BY arm, kind
  ON CONFLICT (rollout_id, step, arm, kind) DO UPDATE SET count = rollout_counts.count + excluded.count
""")
# A user stays with the arm they were first seen in; what is known of them is never taken back. Of labels the first
# counts: else the users of the arm of which more is labelled would be wrong more often.
_JOIN = text("""
  INSERT INTO rollout_units (rollout_id, step, unit, arm, failed, labelled, wrong, slowest)
  SELECT :rollout, :step, decode(unit, 'hex'), arm, failed, labelled, wrong, slowest
  FROM unnest(CAST(:units AS text[]), CAST(:arms AS text[]), CAST(:failed AS boolean[]), CAST(:labelled AS boolean[]),
    CAST(:wrong AS boolean[]), CAST(:slowest AS integer[])) AS new (unit, arm, failed, labelled, wrong, slowest)
  ORDER BY unit
  ON CONFLICT (rollout_id, step, unit) DO UPDATE SET failed = rollout_units.failed OR excluded.failed,
    labelled = rollout_units.labelled OR excluded.labelled,
    wrong = CASE WHEN rollout_units.labelled THEN rollout_units.wrong ELSE excluded.wrong END,
    slowest = greatest(rollout_units.slowest, excluded.slowest)
  WHERE rollout_units.arm = excluded.arm
""")
_USERS = {
    "units": func.count(),
    "errors": func.count().filter(rollout_units.c.failed),
    "labelled": func.count().filter(rollout_units.c.labelled),
    "wrong": func.count().filter(rollout_units.c.wrong),
}


@dataclass(frozen=True)
class Observed:
    """What was observed of a rollout in a step: how often each (arm, kind) was counted, and who reports."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    reporters: Sequence[Reporter] = ()


def take(tx: Connection, rollout: Rollout, asked: AskedObservations, at: datetime | None = None, *, by: str | None = None) -> bool:
    """Count a batch, in the caller's transaction; return False where it was counted before, or comes after its step has ended.

    `by` is who sends it, where that is known; `at` is now by the database's clock, where it is not given.

    Raises:
        BadInput: it is of a step that has not begun, or counts what this rollout does not.
        RequestIdReused: another batch was sent under this name.
    """
    _check(rollout, asked)
    if rollout.status not in OPEN or asked.step < rollout.step:
        return False
    reporter = f"{by}/{asked.reporter}" if by else asked.reporter
    row = {"rollout_id": rollout.id, "batch_id": asked.batch, "body_digest": _digest(asked), "reporter": reporter, "at": at}
    taken_at = tx.execute(_NEW_BATCH, row).scalar_one_or_none()
    if taken_at is None:
        _check_same(tx, rollout, asked)
        return False
    place = {"rollout": rollout.id, "step": asked.step}
    if asked.counts:
        tx.execute(_ADD, place | _columns(("arms", "kinds", "counts"), _counts(asked.counts)))
    if asked.users:
        tx.execute(_JOIN, place | _columns(("units", "arms", "failed", "labelled", "wrong", "slowest"), map(_user, asked.users)))
    reporters.remember(tx, rollout, reporter, asked, taken_at)
    return True


def read(connection: Connection, rollout: Rollout, signal: SignalSpec, at: datetime) -> Reading:
    """Return what was observed for a signal since the step began."""
    return reading_of(observed(connection, [rollout])[rollout.id], rollout, signal, at)


def observed(connection: Connection, rollouts: Sequence[Rollout]) -> dict[UUID, Observed]:
    """Return what was observed of each of these rollouts in the step it is in."""
    told = reporters.of_steps(connection, rollouts)
    found = {one.id: Observed(reporters=told.get(one.id, ())) for one in rollouts}
    for row in every(connection, select(rollout_counts).where(_at_their_steps(rollout_counts, rollouts, Unit.REQUEST))):
        found[row["rollout_id"]].counts[row["arm"], row["kind"]] += row["count"]
    if any(one.spec.unit is Unit.USER for one in rollouts):
        _add_users(connection, rollouts, found)
    return found


def reading_of(seen: Observed, rollout: Rollout, signal: SignalSpec, at: datetime) -> Reading:
    """Return what was observed, as a reading of a signal."""
    try:
        through = _fresh(seen, rollout, signal, at)
        if signal.kind is SignalKind.LATENCY:
            return _latency(seen, rollout, signal, through)
        units, bad = ("units", "errors") if signal.kind is SignalKind.ERRORS else ("labelled", "wrong")
        return counted(signal, {arm: (seen.counts[arm, units], seen.counts[arm, bad]) for arm in Arm}, through=through)
    except Unusable as error:
        return error.reading(signal)


def _fresh(seen: Observed, rollout: Rollout, signal: SignalSpec, at: datetime) -> datetime:
    """Return until when it is known what was observed for a signal."""
    if not seen.reporters:
        raise Unusable(Heard.NO_DATA, "no observations of this step were posted yet")
    limit = late_after(rollout.spec)
    if signal.kind is SignalKind.QUALITY:
        return reporters.heard_until(seen.reporters, at, limit)
    freezes = signal.kind is SignalKind.LATENCY and threshold(signal, rollout.frozen) is None
    return min(reporters.seen_until(seen.reporters, arm, at, limit) for arm in Arm if arm is Arm.CHAMPION or not freezes)


def _latency(seen: Observed, rollout: Rollout, signal: SignalSpec, through: datetime) -> Reading:
    seconds = threshold(signal, rollout.frozen)
    if seconds is None:
        measured, units = _slow(seen, signal)
        return warming_up(signal, units, seconds=measured)
    last = bin_of(seconds)
    return counted(signal, _slower(seen, last), through=through, seconds=upper_seconds(last))


def _check(rollout: Rollout, asked: AskedObservations) -> None:
    if asked.step > rollout.step:
        raise BadInput(f"Rollout {rollout.id} is at step {rollout.step}; step {asked.step}, which this batch is of, has not begun.")
    if rollout.spec.unit is Unit.USER and asked.counts:
        raise BadInput(f"Rollout {rollout.id} counts users; send `users`, each by the digest it is routed by, and no `counts`.")
    if rollout.spec.unit is Unit.REQUEST and asked.users:
        raise BadInput(f"Rollout {rollout.id} counts requests; send `counts` of each arm, and no `users`.")


def _check_same(tx: Connection, rollout: Rollout, asked: AskedObservations) -> None:
    same = (rollout_batches.c.rollout_id == rollout.id) & (rollout_batches.c.batch_id == asked.batch)
    if tx.execute(select(rollout_batches.c.body_digest).where(same)).scalar_one() != _digest(asked):
        raise RequestIdReused(f"Batch {asked.batch} was sent before with other observations; give each batch a name of its own.")


def _digest(asked: AskedObservations) -> str:
    return sha256_hex(canonical_json.dumps(asked.model_dump(mode="json", by_alias=True)))


def _counts(told: Iterable[ObservedCounts]) -> Iterable[tuple[str, str, int]]:
    for one in told:
        for kind in ("units", "errors", "labelled", "wrong"):
            yield one.arm.value, kind, getattr(one, kind)
        for number, count in one.latency.items():
            yield one.arm.value, f"{_LATENCY}{number}", count


def _user(one: ObservedUser) -> tuple[Any, ...]:
    return one.user, one.arm.value, one.failed, one.labelled, one.wrong, one.slowest


def _columns(names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _at_their_steps(table: Any, rollouts: Sequence[Rollout], unit: Unit) -> Any:
    return tuple_(table.c.rollout_id, table.c.step).in_([(one.id, one.step) for one in rollouts if one.spec.unit is unit])


def _add_users(connection: Connection, rollouts: Sequence[Rollout], found: Mapping[UUID, Observed]) -> None:
    groups = (rollout_units.c.rollout_id, rollout_units.c.arm, rollout_units.c.slowest)
    sums = [function.label(name) for name, function in _USERS.items()]
    query = select(*groups, *sums).where(_at_their_steps(rollout_units, rollouts, Unit.USER)).group_by(*groups)
    for row in every(connection, query):
        counts = found[row["rollout_id"]].counts
        for kind in _USERS:
            counts[row["arm"], kind] += row[kind]
        if row["slowest"] is not None:
            counts[row["arm"], f"{_LATENCY}{row['slowest']}"] += row["units"]


def _bins(seen: Observed, arm: Arm) -> Mapping[int, int]:
    kinds = ((kind, count) for (one, kind), count in seen.counts.items() if one == arm and kind.startswith(_LATENCY))
    return {int(kind.removeprefix(_LATENCY)): count for kind, count in sorted(kinds)}


def _slower(seen: Observed, last: int) -> Numbers:
    bins = {arm: _bins(seen, arm) for arm in Arm}
    return {arm: (sum(told.values()), sum(count for number, count in told.items() if number > last)) for arm, told in bins.items()}


def _slow(seen: Observed, signal: SignalSpec) -> tuple[float | None, int]:
    """Return the end of the champion's bin its quantile is in, None where too little was seen; and how much was seen."""
    bins = _bins(seen, Arm.CHAMPION)
    units, below = sum(bins.values()), 0
    for number in sorted(bins) if units >= ENOUGH_UNITS else ():
        below += bins[number]
        if below >= signal.quantile * units:
            return upper_seconds(number), units
    return None, units
