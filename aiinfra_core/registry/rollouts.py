"""Rollouts, the looks at them and what was ordered about them, as they stand. Every move of them lives in `rollout_moves`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from time import monotonic
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select

from aiinfra_core import canonical_json
from aiinfra_core.columns import MOMENT
from aiinfra_core.domain.rollout import Look, Rollout, RolloutOrder, RolloutStatus
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.errors import BadInput, NotFound
from aiinfra_core.registry.rows import every, first, row_by_id
from aiinfra_core.rollout_tables import canary_looks, rollout_orders, rollouts

Row = Mapping[str, Any]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Standing:
    """How a rollout stands: its row, exactly as it is, the record of it, its newest look, and when it was read, by the database's clock."""

    row: Row
    rollout: Rollout
    look: Look | None
    read_at: datetime
    _read: float = field(default_factory=monotonic)

    def now(self) -> datetime:
        """Return what time it is by the database's clock: whoever drives rollouts may have a wrong one."""
        return self.read_at + timedelta(seconds=monotonic() - self._read)


_IS_OPEN = rollouts.c.ended_at.is_(None)
_OF_ROLLOUT = canary_looks.c.rollout_id == bindparam("rollout")
_IS_NEWEST = (canary_looks.c.rollout_id == rollouts.c.id) & (canary_looks.c.number == rollouts.c.looks)
# A driver that comes every minute, a little sooner one time and later the next, is to find what is looked at every minute each time.
_WAITS_UNTIL: ColumnElement[datetime] = literal_column(
    "coalesce(rollouts.looked_at, rollouts.created_at) + 0.9 * make_interval(secs => CAST(rollouts.spec->>'lookSeconds' AS float))"
)
_STANDING = select(
    *(column.label(f"r_{column.name}") for column in rollouts.c),
    *(column.label(f"l_{column.name}") for column in canary_looks.c),
    func.statement_timestamp().label("read_at"),
).outerjoin(canary_looks, _IS_NEWEST)
_LOOKED_AT = func.coalesce(rollouts.c.looked_at, rollouts.c.created_at)
_OLDEST_LOOK = select(func.extract("epoch", func.statement_timestamp() - func.min(_LOOKED_AT))).where(_IS_OPEN)
_NEXT_DUE = select(func.min(_WAITS_UNTIL)).where(_IS_OPEN)
_SENT_BACK = select(func.count()).select_from(rollouts).where(rollouts.c.status == RolloutStatus.ROLLED_BACK)
_ONE = _STANDING.where(rollouts.c.id == bindparam("rollout"))
_CLOCK = select(func.statement_timestamp())
_AT = func.coalesce(bindparam("at", type_=MOMENT), func.statement_timestamp())
_DUE = _STANDING.where(_IS_OPEN, _AT >= _WAITS_UNTIL).order_by(_WAITS_UNTIL)
_NEWEST_LOOK = select(canary_looks).where(_OF_ROLLOUT).order_by(canary_looks.c.number.desc()).limit(1)
_LOOKS = select(canary_looks).where(_OF_ROLLOUT, canary_looks.c.number > bindparam("after")).order_by(canary_looks.c.number)


def get(tx: Connection, rollout_id: UUID) -> Rollout:
    """Return one rollout.

    Raises:
        NotFound: there is no such rollout.
    """
    return rollout_from(row_of(tx, rollout_id))


def row_of(tx: Connection, rollout_id: UUID) -> Row:
    """Return the row of one rollout.

    Raises:
        NotFound: there is no such rollout.
    """
    return row_by_id(tx, rollouts, rollout_id, "rollout")


def of_promotion(tx: Connection, promotion_id: UUID) -> Rollout | None:
    """Return the rollout of a promotion, or None."""
    row = first(tx, select(rollouts).where(rollouts.c.promotion_id == promotion_id))
    return None if row is None else rollout_from(row)


def open_in(tx: Connection, environment: str, model: str) -> Rollout | None:
    """Return the rollout that is open for a model in an environment, or None."""
    row = first(tx, select(rollouts).where(_IS_OPEN, rollouts.c.environment == environment, rollouts.c.model == model))
    return None if row is None else rollout_from(row)


def next_due(tx: Connection) -> datetime | None:
    """Return when an open rollout is to be looked at next, None where none is open."""
    return tx.execute(_NEXT_DUE).scalar_one_or_none()


def due(tx: Connection, at: datetime | None = None) -> list[Standing]:
    """Return all open rollouts that are to be looked at by then, or by now, the one that waits longest first.

    One that cannot be read is logged.
    """
    readable = (_standing_or_none(row) for row in every(tx, _DUE, {"at": at}))
    return [one for one in readable if one is not None]


def standing(tx: Connection, rollout_id: UUID) -> Standing:
    """Return how a rollout stands.

    Raises:
        NotFound: there is no such rollout.
    """
    row = first(tx, _ONE, {"rollout": rollout_id})
    if row is None:
        raise NotFound(f"There is no rollout {rollout_id}.")
    return _standing(row)


def number_sent_back(tx: Connection) -> int:
    """Return how many challengers were sent back, by a look or by a person."""
    return tx.execute(_SENT_BACK).scalar_one()


def oldest_look(tx: Connection) -> float:
    """Return for how many seconds the open rollout that waits longest was not looked at; 0 where none is open."""
    return max(0.0, float(tx.execute(_OLDEST_LOOK).scalar_one() or 0))


def clock(tx: Connection) -> datetime:
    """Return what time it is by the database's clock, by which rollouts go whoever drives them."""
    moment: datetime = tx.execute(_CLOCK).scalar_one()
    return moment


def newest_look(tx: Connection, rollout_id: UUID) -> Look | None:
    """Return the last look at a rollout, or None."""
    row = first(tx, _NEWEST_LOOK, {"rollout": rollout_id})
    return None if row is None else look_from(row)


def looks(tx: Connection, rollout_id: UUID, *, after: int = 0, most: int = 1000) -> list[Look]:
    """Return looks at a rollout, in order; those after a number, so many at most."""
    return [look_from(row) for row in every(tx, _LOOKS.limit(most), {"rollout": rollout_id, "after": after})]


def orders(tx: Connection, rollout_id: UUID) -> list[RolloutOrder]:
    """Return what was ordered about a rollout, in order."""
    query = select(rollout_orders).where(rollout_orders.c.rollout_id == rollout_id).order_by(rollout_orders.c.created_at)
    return [RolloutOrder(**row) for row in every(tx, query)]


def newest(tx: Connection, *, environment: str | None = None, model: str | None = None, before: datetime | None = None) -> list[Rollout]:
    """Return up to 100 rollouts, newest first."""
    query = select(rollouts).order_by(rollouts.c.created_at.desc(), rollouts.c.id.desc()).limit(100)
    wanted = {rollouts.c.environment: environment, rollouts.c.model: model}
    query = query.where(*(column == value for column, value in wanted.items() if value is not None))
    return [rollout_from(row) for row in every(tx, query if before is None else query.where(rollouts.c.created_at < before))]


def rollout_from(row: Row) -> Rollout:
    """Return the record of a row."""
    frozen = None if row["frozen"] is None else canonical_json.loads(row["frozen"])
    return Rollout(**{**row, "spec": RolloutSpec(**canonical_json.loads(row["spec"])), "frozen": frozen})


def look_from(row: Row) -> Look:
    """Return the record of a row."""
    own = {name: row[name] for name in ("number", "step", "weight", "verdict", "reason", "created_at")}
    return Look(**own, readings=canonical_json.loads(row["readings"]), judged=canonical_json.loads(row["judged"]))


def _standing_or_none(row: Row) -> Standing | None:
    try:
        return _standing(row)
    except (ValueError, TypeError, BadInput) as error:  # edited, or written by a newer release; the others are to be looked at all the same
        _tell_unreadable(row["r_id"], str(error))
        return None


@lru_cache(maxsize=1000)  # once, and not at every look at the others
def _tell_unreadable(rollout_id: UUID, problem: str) -> None:
    logger.error("Rollout %s cannot be read, so nobody looks at it; see: aiinfra verify. %s", rollout_id, problem)


def _standing(row: Row) -> Standing:
    own = {name: {key.removeprefix(name): value for key, value in row.items() if key.startswith(name)} for name in ("r_", "l_")}
    return Standing(own["r_"], rollout_from(own["r_"]), look_from(own["l_"]) if own["l_"]["id"] else None, row["read_at"])
