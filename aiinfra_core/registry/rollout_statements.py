"""The statements that move rollouts (`rollout_moves`), each one for its rows, its events and the pointer; built once for each form.

What they bind must not be called as a column of a table they change: SQLAlchemy would set that, too.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, bindparam, exists, literal, select, update
from sqlalchemy.sql.dml import ReturningInsert

from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.registry.rows import first
from aiinfra_core.registry.writes import inserted, to_set, told, values
from aiinfra_core.rollout_tables import canary_looks, rollout_orders, rollouts
from aiinfra_core.tables import attestations, environment_pointers, model_promotions

Row = Mapping[str, Any]
Statement = ReturningInsert[tuple[int]]

_MOVING = ("status", "step", "weight", "looks", "frozen", "reason", "step_started_at", "heard_at", "looked_at", "updated_at", "ended_at")
_POINTING = ("sequence", "promotion_id", "artifact_id", "updated_at", "rollout_id", "changes")
_ENDING = ("status", "reason", "updated_at", "applied_at")
_IS_ROLLOUT = rollouts.c.id == bindparam("of_rollout")
_AS_SEEN = _IS_ROLLOUT & (rollouts.c.updated_at == bindparam("seen_at")) & rollouts.c.ended_at.is_(None)
_IS_PROMOTION = model_promotions.c.id == bindparam("promotion")
_PROMOTION_AS_SEEN = _IS_PROMOTION & (model_promotions.c.updated_at == bindparam("promotion_seen_at"))
PLACE = (environment_pointers.c.environment == bindparam("in_environment")) & (environment_pointers.c.model == bindparam("of_model"))
_POINTER = select(environment_pointers).where(PLACE)
_POINTER_AS_SEEN = (
    PLACE
    & (environment_pointers.c.sequence == bindparam("at_sequence"))
    & environment_pointers.c.rollout_id.is_not_distinct_from(bindparam("rollout_seen", type_=environment_pointers.c.rollout_id.type))
    & environment_pointers.c.changes.is_not_distinct_from(bindparam("changes_seen", type_=environment_pointers.c.changes.type))
)


def pointer_row(connection: Connection, environment: str, model: str) -> Row | None:
    """Return the row of what is current for a model in an environment, or None."""
    return first(connection, _POINTER, {"in_environment": environment, "of_model": model})


def pointing(pointer: Row, turned: Row) -> dict[str, Any]:
    """Return what a statement binds that changes the pointer from one row to another."""
    place = {"in_environment": pointer["environment"], "of_model": pointer["model"]}
    seen = {"at_sequence": pointer["sequence"], "rollout_seen": pointer["rollout_id"], "changes_seen": pointer["changes"]}
    return place | seen | values("pointed", {name: turned[name] for name in _POINTING})


def promoting(promotion: Row, became: Row) -> dict[str, Any]:
    """Return what a statement binds that changes a promotion from one row to another."""
    seen = {"promotion": promotion["id"], "promotion_seen_at": promotion["updated_at"]}
    return seen | values("became", {name: became[name] for name in _ENDING})


@lru_cache
def move(*, turns: bool, becomes: PromotionStatus | None, look: bool, order: bool) -> Statement:
    """Return the statement that moves a rollout: `turns` the pointer, `becomes` what its promotion does, a look kept, an order kept."""
    last = _changed(rollouts, _AS_SEEN, None, "set", _MOVING)
    if turns:
        last = _turned(becomes)
    for there, table in ((look, canary_looks), (order, rollout_orders), (order, attestations)):
        last = inserted(table, last) if there else last
    if becomes is PromotionStatus.APPLIED:
        last = told(last).cte("told_first")
        return told(last, "applied")
    return told(last)


def _turned(becomes: PromotionStatus | None) -> CTE:
    """Lock the rollout and its promotion as they were seen, then change the pointer; the rest follows only where that could be done."""
    both = select(rollouts.c.id).join(model_promotions, model_promotions.c.id == rollouts.c.promotion_id)
    ready = both.where(_AS_SEEN, _PROMOTION_AS_SEEN).with_for_update().cte("ready")
    moved = _changed(rollouts, _IS_ROLLOUT, _changed(environment_pointers, _POINTER_AS_SEEN, ready, "pointed", _POINTING), "set", _MOVING)
    return moved if becomes is None else _changed(model_promotions, _IS_PROMOTION, moved, "became", _ENDING)


def _changed(table: Any, where: ColumnElement[bool], after: CTE | None, named: str, columns: tuple[str, ...]) -> CTE:
    query = update(table).where(where).values(to_set(table, *columns, named=named))
    if after is not None:
        query = query.where(exists(select(literal(1)).select_from(after)))
    return query.returning(literal(1).label("done")).cte(f"changed_{table.name}")


_APPROVED = select(model_promotions.c.id).where(_PROMOTION_AS_SEEN, model_promotions.c.status == PromotionStatus.APPROVED)
_BESIDE = _changed(environment_pointers, _POINTER_AS_SEEN, _APPROVED.with_for_update().cte("ready"), "pointed", _POINTING)
START = told(inserted(rollouts, _changed(model_promotions, _IS_PROMOTION, _BESIDE, "became", _ENDING)))
"""Make a rollout of an approved promotion where the pointer is as it was seen."""
