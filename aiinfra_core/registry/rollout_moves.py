"""Every move of a rollout, with its event: what a look found, what somebody ordered, and what that makes of pointer and promotion.

Each move is one statement (`writes`): it acts only on a rollout that still is exactly the row the caller saw, and the events tell of the
rows as they are afterwards. A caller whose row is out of date changes nothing and gets None: somebody was quicker. Locks are taken in one
order: the rollout, its promotion, the pointer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.rollout import OPEN, Action, Look, RolloutOrder, RolloutStatus
from aiinfra_core.domain.rollout_spec import WHOLE, RolloutSpec
from aiinfra_core.registry import applying, attestations, promotion_moves, rollout_statements
from aiinfra_core.registry.promotion_requests import event_of
from aiinfra_core.registry.rollout_statements import pointer_row, pointing, promoting
from aiinfra_core.registry.rollouts import clock
from aiinfra_core.registry.rows import first, full_row, row_by_id
from aiinfra_core.registry.writes import values
from aiinfra_core.rollout_tables import canary_looks, rollout_orders, rollouts
from aiinfra_core.tables import model_promotions

JUDGE = "canary"
"""Who acts where a look, and no person, moved a rollout."""
ENDS: Mapping[RolloutStatus, tuple[str, PromotionStatus]] = {
    RolloutStatus.ROLLED_BACK: ("rollback.applied", PromotionStatus.ROLLED_BACK),
    RolloutStatus.INCONCLUSIVE: ("rollout.ended", PromotionStatus.EXPIRED),
    RolloutStatus.ABORTED: ("rollout.aborted", PromotionStatus.REJECTED),
    RolloutStatus.SUPERSEDED: ("rollout.superseded", PromotionStatus.SUPERSEDED),
}
"""How a rollout ends without all traffic: the event that tells of it, and what becomes of its promotion."""
_STEERED = {
    Action.PAUSE: (RolloutStatus.RUNNING, RolloutStatus.PAUSED, "rollout.paused"),
    Action.RESUME: (RolloutStatus.PAUSED, RolloutStatus.RUNNING, "rollout.resumed"),
}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ordered:
    """What somebody ordered about a rollout, with its signed statement."""

    order: RolloutOrder
    attestation: Attestation


def start(connection: Connection, row: Row, *, salt: str) -> Row:
    """Let an approved promotion earn its traffic beside what is current, and return its row then.

    Where something else became current since it was asked for, or another rollout is open, it is superseded as one that is applied;
    where its bytes were sent back meanwhile it is rejected.
    """
    if row["status"] != PromotionStatus.APPROVED:
        return row
    pointer, at = pointer_row(connection, row["environment"], row["model"]), clock(connection)
    if ended := applying.unfit(connection, row, pointer, at=at):
        return ended
    assert pointer is not None  # noqa: S101 - a slip of ours: beside nothing there is nothing to earn
    return _started(connection, row, pointer, salt, at) or promotion_moves.as_it_stands(connection, row)


def _started(connection: Connection, row: Row, pointer: Row, salt: str, at: datetime) -> Row | None:
    at = _after(row, at)
    new = {**row, "status": PromotionStatus.ROLLING_OUT, "updated_at": at}
    rollout = _first_row(new, pointer, salt, at)
    turned = _turned(pointer, at, rollout_id=rollout["id"])
    tell = event(
        "rollout.started",
        at=at,
        actor=row["requested_by"],
        request_id=row["request_id"],
        subject=str(rollout["id"]),
        rows={"model_promotions": new, "rollouts": rollout, "environment_pointers": turned},
        digests={"manifest": row["manifest"]},
    )
    bound = promoting(row, new) | pointing(pointer, turned) | values("rollouts", rollout) | values("event", tell)
    return new if first(connection, rollout_statements.START, bound) else None


def hold(
    connection: Connection, rollout_row: Row, look: Look, *, heard_at: datetime, frozen: Mapping[str, float] | None, at: datetime
) -> Row | None:
    """Keep a look that changes nothing about traffic; `frozen` is what is known by now of the champion, None for what was."""
    kept = rollout_row["frozen"] if frozen is None else canonical_json.dumps(dict(frozen)).decode()
    return _move(connection, _Move("rollout.held", {"heard_at": heard_at, "frozen": kept}, look, None), rollout_row, at)


def steer(connection: Connection, rollout_row: Row, order: Ordered, *, at: datetime) -> Row | None:
    """Pause what runs, or resume what is paused, as it was ordered; None too where that is how it stands already."""
    before, after, event_type = _STEERED[order.order.action]
    if rollout_row["status"] != before:
        return None
    return _move(connection, _Move(event_type, {"status": after}, None, order), rollout_row, at)


def advance(
    connection: Connection, rollout_row: Row, *, look: Look | None = None, order: Ordered | None = None, at: datetime
) -> Row | None:
    """Give the challenger the traffic of the next step, which begins now; the last step is `complete`'s."""
    spec, step = _spec(rollout_row["spec"]), rollout_row["step"] + 1
    assert spec.steps[step] < WHOLE, spec.steps  # noqa: S101 - a slip of ours: who has all traffic is the champion
    changes = {"step": step, "weight": spec.steps[step], "step_started_at": _after(rollout_row, at), "heard_at": _after(rollout_row, at)}
    return _move(connection, _Move("rollout.advanced", changes, look, order, turns=True), rollout_row, at)


def complete(
    connection: Connection, rollout_row: Row, *, look: Look | None = None, order: Ordered | None = None, at: datetime
) -> Row | None:
    """Give the challenger all traffic: it is current with that, and its promotion applied."""
    changes = {
        "status": RolloutStatus.COMPLETED,
        "step": len(_spec(rollout_row["spec"]).steps) - 1,
        "weight": WHOLE,
        "reason": _reason(look, order),
        "ended_at": _after(rollout_row, at),
    }
    return _move(connection, _Move("rollout.completed", changes, look, order, turns=True, becomes=PromotionStatus.APPLIED), rollout_row, at)


def end(
    connection: Connection,
    rollout_row: Row,
    status: RolloutStatus,
    reason: str,
    *,
    look: Look | None = None,
    order: Ordered | None = None,
    at: datetime,
) -> Row | None:
    """Return all traffic to the champion, which never stopped being current; the promotion ends with the rollout."""
    event_type, becomes = ENDS[status]
    changes = {"status": status, "weight": 0, "reason": reason, "ended_at": _after(rollout_row, at)}
    return _move(connection, _Move(event_type, changes, look, order, turns=True, becomes=becomes), rollout_row, at)


@dataclass(frozen=True)
class _Move:
    """A move: its event, what it changes of the rollout, what led to it, whether traffic changes, and what its promotion becomes."""

    event_type: str
    changes: Row
    look: Look | None
    order: Ordered | None
    turns: bool = False
    becomes: PromotionStatus | None = None


def _move(connection: Connection, move: _Move, row: Row, at: datetime) -> Row | None:
    if row["status"] not in OPEN:
        return None
    at = _after(row, at)
    new = {**row, **move.changes, "updated_at": at}
    if move.look:
        assert move.look.number == row["looks"] + 1, move.look.number  # noqa: S101 - a slip of ours: looks are judged one after the other
        new |= {"looks": move.look.number, "looked_at": at}
    led_to = _led_to(row, move, at)
    bound = {"of_rollout": row["id"], "seen_at": row["updated_at"]} | values("set", new)
    for table, kept in led_to.items():
        bound |= values(table, kept)
    turned: dict[str, Row] = {}
    if move.turns:
        promotion = row_by_id(connection, model_promotions, row["promotion_id"], "promotion")
        pointer = pointer_row(connection, row["environment"], row["model"])
        if pointer is None or pointer["rollout_id"] != row["id"]:
            return None  # it ended since it was read
        became = _became(promotion, move, at, new["reason"])
        turned = {"environment_pointers": _pointer_after(pointer, became, new, at), "model_promotions": became}
        bound |= pointing(pointer, turned["environment_pointers"]) | promoting(promotion, became)
    bound |= _events(move, new, led_to, turned, at)
    statement = rollout_statements.move(turns=move.turns, becomes=move.becomes, look=bool(move.look), order=bool(move.order))
    return new if first(connection, statement, bound) else None


def _events(move: _Move, rollout: Row, led_to: Mapping[str, Row], turned: Mapping[str, Row], at: datetime) -> dict[str, Any]:
    """Return what the events bind: of a promotion that is applied with this a second one tells, as of any that is."""
    digests = {"order": move.order.attestation.digest} if move.order else {}
    if turned:
        digests["manifest"] = turned["model_promotions"]["manifest"]
    applied = move.becomes is PromotionStatus.APPLIED
    tell = event(
        move.event_type,
        at=at,
        actor=move.order.order.ordered_by if move.order else JUDGE,
        request_id=move.order.order.request_id if move.order else f"look:{rollout['id']}:{rollout['looks']}",
        subject=str(rollout["id"]),
        rows={"rollouts": rollout, **led_to, **({} if applied else turned)},
        digests=digests,
    )
    return values("event", tell) | (_applied(at, **turned) if applied else {})


def _applied(at: datetime, model_promotions: Row, **pointer: Row) -> dict[str, Any]:
    tell = event_of("promotion.applied", model_promotions, at, {"manifest": model_promotions["manifest"]}, **pointer)
    return values("applied", tell)


def _first_row(promotion: Row, pointer: Row, salt: str, at: datetime) -> dict[str, Any]:
    spec = _spec(promotion["rollout"])
    return full_row(
        rollouts,
        id=uuid4(),
        promotion_id=promotion["id"],
        environment=promotion["environment"],
        model=promotion["model"],
        champion=pointer["promotion_id"],
        sequence=pointer["sequence"],
        spec=promotion["rollout"],
        spec_digest=spec.digest(),
        salt=salt,
        status=RolloutStatus.RUNNING,
        step=0,
        weight=spec.steps[0],
        looks=0,
        created_at=at,
        step_started_at=at,
        heard_at=at,
        updated_at=at,
    )


def _led_to(row: Row, move: _Move, at: datetime) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    if look := move.look:
        judged = {name: look.model_dump(mode="json", by_alias=True)[name] for name in ("readings", "judged")}
        texts = {name: canonical_json.dumps(value).decode() for name, value in judged.items()}
        plain = {name: getattr(look, name) for name in ("number", "step", "weight", "verdict", "reason", "created_at")}
        rows["canary_looks"] = full_row(canary_looks, id=uuid4(), rollout_id=row["id"], **plain, **texts)
    if move.order:
        rows["rollout_orders"] = full_row(rollout_orders, **move.order.order.model_dump())
        rows["attestations"] = attestations.row_of(move.order.attestation, at)
    return rows


def _became(promotion: Row, move: _Move, at: datetime, reason: str | None) -> Row:
    if move.becomes is None:
        return promotion
    how = {"applied_at": at} if move.becomes is PromotionStatus.APPLIED else {"reason": reason}
    return {**promotion, "status": move.becomes, "updated_at": _after(promotion, at), **how}


def _pointer_after(pointer: Row, promotion: Row, rollout: Row, at: datetime) -> Row:
    if promotion["status"] != PromotionStatus.APPLIED:
        return _turned(pointer, at, rollout_id=rollout["id"] if rollout["ended_at"] is None else None)
    current = {"promotion_id": promotion["id"], "artifact_id": promotion["artifact_id"]}
    return {**pointer, **current, "sequence": pointer["sequence"] + 1, "rollout_id": None, "changes": None, "updated_at": at}


def _turned(pointer: Row, at: datetime, **changes: Any) -> Row:
    return {**pointer, **changes, "changes": (pointer["changes"] or 0) + 1, "updated_at": at}


def _reason(look: Look | None, order: Ordered | None) -> str:
    assert look or order  # noqa: S101 - a slip of ours: nothing happens to a rollout by itself
    return look.reason if look else f"ordered by {order.order.ordered_by}: {order.order.reason}" if order else ""


def _spec(text: str) -> RolloutSpec:
    return RolloutSpec(**canonical_json.loads(text))


def _after(row: Row, at: datetime) -> datetime:
    seen: datetime = row["updated_at"]
    return max(at, seen + timedelta(microseconds=1))  # a clock may go back, a row's time must not
