"""The last move of an approved promotion, by which it becomes current: the compare-and-swap of the pointer, and what a rollback replaces.

One that has to earn its traffic first starts with `rollout_moves.start`.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Connection, bindparam, exists, literal, select, update

from aiinfra_core import canonical_json
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.registry import bars
from aiinfra_core.registry.promotion_moves import UNCHANGED, Row, as_it_stands, move, reject, supersede
from aiinfra_core.registry.promotion_requests import event_of
from aiinfra_core.registry.rollout_statements import PLACE, pointer_row
from aiinfra_core.registry.rows import row_by_id
from aiinfra_core.registry.writes import inserted_if_new, to_set, told, values
from aiinfra_core.tables import environment_pointers, model_promotions

_SWAPPED = ("sequence", "promotion_id", "artifact_id", "updated_at", "rollout_id", "changes")
_BEFORE = model_promotions.alias("before")
_APPROVED = UNCHANGED & (model_promotions.c.status == PromotionStatus.APPROVED)
_READY = select(model_promotions.c.id).where(_APPROVED).with_for_update().cte("ready")
_READY_TO_GO_BACK = (
    select(model_promotions.c.id)
    .join(_BEFORE, (_BEFORE.c.id == bindparam("replaced")) & (_BEFORE.c.updated_at == bindparam("replaced_seen_at")))
    .where(_APPROVED)
    .with_for_update()
    .cte("ready")
)


def _swapped(ready: CTE) -> CTE:
    as_seen = (
        PLACE,
        environment_pointers.c.sequence == bindparam("seen"),
        environment_pointers.c.rollout_id.is_(None),  # a rollout that is open is ended first
        environment_pointers.c.changes.is_not_distinct_from(bindparam("changes_seen", type_=environment_pointers.c.changes.type)),
    )
    query = update(environment_pointers).where(*as_seen, exists(select(literal(1)).select_from(ready)))
    return query.values(to_set(environment_pointers, *_SWAPPED)).returning(environment_pointers.c.sequence).cte("swapped")


def _changed(after: CTE, named: str, only: ColumnElement[bool], *columns: str) -> CTE:
    query = update(model_promotions).where(only, exists(select(literal(1)).select_from(after)))
    return query.values(to_set(model_promotions, *columns, named=named)).returning(model_promotions.c.id).cte(f"changed_{named}")


def _applied(swapped: CTE) -> CTE:
    return _changed(swapped, "set", model_promotions.c.id == bindparam("promotion"), "status", "updated_at", "applied_at")


_FIRST = told(_applied(inserted_if_new(environment_pointers, _READY)))
_NEXT = told(_applied(_swapped(_READY)))
_TOLD = told(_applied(_swapped(_READY_TO_GO_BACK))).cte("told_applied")
_BACK = told(_changed(_TOLD, "replaced", model_promotions.c.id == bindparam("replaced"), "status", "reason", "updated_at"), "back")


def apply(connection: Connection, row: Row, *, at: datetime) -> Row:
    """Make an approved promotion current if nothing else became current since it was asked for, and nothing is being rolled out there.

    Else it is superseded; where its bytes were sent back meanwhile it is rejected. What a rollback replaces is rolled back with it.
    """
    if row["status"] != PromotionStatus.APPROVED:
        return row
    applied = None if row["rollback"] else _swap(connection, row, None, at)
    if applied:
        return applied
    pointer = pointer_row(connection, row["environment"], row["model"])
    if ended := unfit(connection, row, pointer, at=at):
        return ended
    # A rollout came and went since what is current became so, or this goes back; only now is there anything more to look at.
    swapped = _swap(connection, row, pointer["changes"] if pointer else None, at)
    return swapped or as_it_stands(connection, row)


def unfit(connection: Connection, row: Row, pointer: Row | None, *, at: datetime) -> Row | None:
    """End an approved promotion that can no longer become current as the pointer stands, and return its row; None where it can."""
    if (pointer["sequence"] if pointer else 0) != row["sequence_seen"]:
        return supersede(connection, row, at=at)
    if pointer and row["rollback"] and canonical_json.loads(row["rollback"])["replaces"] != str(pointer["promotion_id"]):
        return supersede(connection, row, at=at)
    if pointer and pointer["rollout_id"]:
        reason = (
            f"rollout {pointer['rollout_id']} began there first; once it is over (aiinfra rollout show {pointer['rollout_id']}) ask again"
        )
        return supersede(connection, row, reason, at=at)
    barred = bars.why_barred(connection, row)
    return reject(connection, row, barred, at=at) if barred else None


def _swap(connection: Connection, row: Row, changes_seen: int | None, at: datetime) -> Row | None:
    at = _after(row, at)
    pointer = {
        "environment": row["environment"],
        "model": row["model"],
        "sequence": row["sequence_seen"] + 1,
        "promotion_id": row["id"],
        "artifact_id": row["artifact_id"],
        "updated_at": at,
        "rollout_id": None,
        "changes": None,
    }
    seen = {"in_environment": row["environment"], "of_model": row["model"], "seen": row["sequence_seen"], "changes_seen": changes_seen}
    binds = seen | {f"set_{name}": pointer[name] for name in _SWAPPED} | (_replaced(connection, row, at) if row["rollback"] else {})
    statement = _BACK if row["rollback"] else _NEXT if row["sequence_seen"] else _FIRST
    changes, digests = {"status": PromotionStatus.APPLIED, "applied_at": at}, {"manifest": row["manifest"]}
    return move(connection, statement, row, "promotion.applied", at, changes, digests, binds, environment_pointers=pointer)


def _replaced(connection: Connection, row: Row, at: datetime) -> dict[str, Any]:
    """Return what the statement binds about the promotion that a rollback replaces: it is rolled back for the same reason."""
    back = canonical_json.loads(row["rollback"])
    before = row_by_id(connection, model_promotions, UUID(back["replaces"]), "promotion")
    new = {**before, "status": PromotionStatus.ROLLED_BACK, "reason": back["reason"], "updated_at": _after(before, at)}
    tell = event_of("rollback.applied", new, new["updated_at"], {"manifest": row["manifest"]}, row["requested_by"])
    seen = {"replaced": before["id"], "replaced_seen_at": before["updated_at"]}
    return seen | values("replaced", {name: new[name] for name in ("status", "reason", "updated_at")}) | values("back", tell)


def _after(row: Row, at: datetime) -> datetime:
    seen: datetime = row["updated_at"]
    return max(at, seen + timedelta(microseconds=1))  # a clock may go back, a row's time must not
