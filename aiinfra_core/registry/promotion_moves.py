"""Every move of a promotion that was asked for, with its event. The last one, by which it becomes current, lives in `applying`.

Each move is one statement (`writes`): it acts only on a promotion that still is exactly the row the caller saw, and the event tells of
the row as it is afterwards. A caller whose row is out of date changes nothing and gets the row as it stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, bindparam, exists, select, update
from sqlalchemy.sql.dml import ReturningInsert

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import Decision, PromotionStatus
from aiinfra_core.registry import attestations, policy_decisions, requests
from aiinfra_core.registry.policy_decisions import Judgement
from aiinfra_core.registry.promotion_requests import OPERATION, event_of
from aiinfra_core.registry.rows import first, row_by_id
from aiinfra_core.registry.writes import inserted, to_set, told, values
from aiinfra_core.tables import artifact_tombstones, model_promotions
from aiinfra_core.tables import attestations as attestations_table
from aiinfra_core.tables import policy_decisions as policy_decisions_table

LOST = "another promotion became current first; look at what is current and ask again"
OPEN = (PromotionStatus.REQUESTED, PromotionStatus.PENDING_APPROVAL, PromotionStatus.APPROVED)
_NO = {"quarantine": PromotionStatus.QUARANTINED, "remediate": PromotionStatus.REMEDIATION}


@dataclass(frozen=True)
class Waits:
    """What a promotion waits for: role -> how many owners have to agree, and until when it may wait."""

    approvals: Mapping[str, int]
    until: datetime


Row = Mapping[str, Any]
Statement = ReturningInsert[tuple[int]]

NOTHING_MORE: Row = {}
UNCHANGED = (model_promotions.c.id == bindparam("promotion")) & (model_promotions.c.updated_at == bindparam("seen_at"))
"""That a promotion still is exactly the row the caller saw."""
_IS_PRUNED = exists().where(artifact_tombstones.c.artifact_id == model_promotions.c.artifact_id)


def _changed(*names: str, only: ColumnElement[bool] = UNCHANGED) -> CTE:
    query = update(model_promotions).where(only).values(to_set(model_promotions, *names))
    return query.returning(model_promotions.c.id).cte("changed")


# Whoever wants to remove the bytes of an artifact sees the promotion that is asked for, or has buried it by now and is seen here.
_DECIDE = told(inserted(policy_decisions_table, _changed("decision", "updated_at", only=UNCHANGED & ~_IS_PRUNED)))
_ANSWER = told(
    inserted(policy_decisions_table, select(model_promotions.c.id).where(UNCHANGED).with_for_update(key_share=True).cte("still"))
)
_END = told(_changed("status", "reason", "updated_at"))
_SIGNED = ("status", "manifest", "signature", "signer_id", "updated_at", "approvals_required", "pending_until")
_SIGN = told(inserted(attestations_table, _changed(*_SIGNED)))
_AGREE = told(_changed("status", "updated_at"))


def record_decision(tx: Connection, row: Row, judgement: Judgement, *, at: datetime) -> Row:
    """Keep what each gate said, and what it means together, once; a no ends the promotion.

    Needs a transaction, unless there is one answer and it is a yes. Where the artifact's bytes were removed nothing is kept.
    """
    if row["status"] != PromotionStatus.REQUESTED or row["decision"] is not None:
        return row
    kept, *more = (policy_decisions.row_of(row["id"], judgement.stage, answer, at) for answer in judgement.answers)
    together = {"decision": policy_decisions.as_text(judgement.together)}
    decided = move(tx, _DECIDE, row, "policy.decision", at, together, policy_decisions=kept)
    if decided is None:
        return as_it_stands(tx, row)
    for answer in more:
        _answered(tx, decided, answer, at)
    return decided if judgement.together.allowed else refuse(tx, decided, judgement.together, at=at)


def _answered(tx: Connection, row: Row, answer: Row, at: datetime) -> bool:
    tell = event(
        "policy.decision",
        at=at,
        actor=row["requested_by"],
        request_id=row["request_id"],
        subject=str(row["id"]),
        rows={"policy_decisions": answer},
    )
    bound = {"promotion": row["id"], "seen_at": row["updated_at"]} | values("policy_decisions", answer) | values("event", tell)
    return first(tx, _ANSWER, bound) is not None


def refuse(connection: Connection, row: Row, decision: Decision, *, at: datetime) -> Row:
    """End a promotion with a gate's no: rejected, quarantined or to be mended first, as the gate said."""
    status = _NO.get(decision.decision or "", PromotionStatus.REJECTED)
    return reject(connection, row, decision.reason, unavailable=decision.source if decision.unavailable else None, at=at, status=status)


def reject(
    connection: Connection,
    row: Row,
    reason: str,
    *,
    unavailable: str | None = None,
    anew: bool = False,
    at: datetime,
    status: PromotionStatus = PromotionStatus.REJECTED,
) -> Row:
    """End a promotion with a no and its reason.

    With `unavailable` (the part that could not be reached) or `anew` the request may be asked again under the same id.
    """
    if row["status"] not in OPEN:
        return row
    said = f"unavailable:{unavailable} {reason}" if unavailable else reason
    rejected = move(connection, _END, row, "promotion.rejected", at, {"status": status, "reason": said})
    if rejected and (unavailable or anew):
        requests.release(connection, OPERATION, row["id"])
    return rejected or as_it_stands(connection, row)


def sign(connection: Connection, row: Row, manifest: Attestation, waits: Waits | None, *, at: datetime) -> Row:
    """Attach the signed manifest of an allowed promotion, once: it is approved with that, or waits for people."""
    if row["status"] != PromotionStatus.REQUESTED:
        return row
    statement = attestations.row_of(manifest, at)
    changes = {
        "status": PromotionStatus.PENDING_APPROVAL if waits else PromotionStatus.APPROVED,
        "manifest": manifest.digest,
        "signature": manifest.signature,
        "signer_id": manifest.signer_id,
        "approvals_required": canonical_json.dumps(waits.approvals).decode() if waits else None,
        "pending_until": waits.until if waits else None,
    }
    digests = {"manifest": manifest.digest}
    tell = "promotion.pending" if waits else "promotion.approved"
    signed = move(connection, _SIGN, row, tell, at, changes, digests, attestations=statement)
    return signed or as_it_stands(connection, row)


def agree(tx: Connection, row: Row, judgement: Judgement, *, too_little: str | None = None, at: datetime) -> Row:
    """Note that everybody agreed who had to, and what the gates said to that; their no ends the promotion.

    So does a yes to which those who agreed are `too_little`, with that reason, and it may be asked again under the same id. Whoever
    withdraws in this moment changed the row, and then nothing is noted. Needs a transaction.
    """
    if row["status"] != PromotionStatus.PENDING_APPROVAL:
        return row
    answers = [policy_decisions.row_of(row["id"], judgement.stage, answer, at) for answer in judgement.answers]
    if not all(_answered(tx, row, answer, at) for answer in answers):
        return as_it_stands(tx, row)
    if not judgement.together.allowed:
        return refuse(tx, row, judgement.together, at=at)
    if too_little:
        return expire(tx, row, too_little, anew=True, at=at)
    agreed = move(tx, _AGREE, row, "promotion.approved", at, {"status": PromotionStatus.APPROVED}, {"manifest": row["manifest"]})
    return agreed or as_it_stands(tx, row)


def expire(connection: Connection, row: Row, reason: str, *, anew: bool = False, at: datetime) -> Row:
    """End a promotion that waited for people, or was to be applied too late for what they and the gate had said to count.

    With `anew` the request may be asked again under the same id; needs a transaction then.
    """
    if row["status"] not in (PromotionStatus.PENDING_APPROVAL, PromotionStatus.APPROVED):
        return row
    expired = move(connection, _END, row, "promotion.expired", at, {"status": PromotionStatus.EXPIRED, "reason": reason})
    if expired and anew:
        requests.release(connection, OPERATION, row["id"])
    return expired or as_it_stands(connection, row)


def supersede(connection: Connection, row: Row, reason: str = LOST, *, at: datetime) -> Row:
    """End a promotion because another became current since it was asked for, or earns its traffic there."""
    if row["status"] not in OPEN:
        return row
    lost = move(connection, _END, row, "promotion.superseded", at, {"status": PromotionStatus.SUPERSEDED, "reason": reason})
    return lost or as_it_stands(connection, row)


def move(
    connection: Connection,
    statement: Statement,
    row: Row,
    event_type: str,
    at: datetime,
    changes: Row,
    digests: Mapping[str, str] | None = None,
    binds: Row = NOTHING_MORE,
    **other_rows: Row,
) -> Row | None:
    """Change the promotion if it still is this row, with its event; return the new row, or None when somebody was quicker.

    `other_rows` are told of with it and bound under their tables' names; `binds` is what else the statement binds.
    """
    at = max(at, row["updated_at"] + timedelta(microseconds=1))  # a clock may go back, a row's time must not
    new = {**row, **changes, "updated_at": at}
    bound = {
        "promotion": row["id"],
        "seen_at": row["updated_at"],
        **values("set", new),
        **values("event", event_of(event_type, new, at, digests, **other_rows)),
        **binds,
    }
    for table, other in other_rows.items():
        bound |= values(table, other)
    return new if first(connection, statement, bound) else None


def as_it_stands(connection: Connection, row: Row) -> Row:
    """Return a promotion's row as it is now."""
    return row_by_id(connection, model_promotions, row["id"], "promotion")
