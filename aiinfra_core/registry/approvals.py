"""Approvals of promotions and their withdrawals: kept with their signed statements while the promotion still is to be applied.

Each touches the promotion's row in the same statement, so that a move of it that did not see the approval, or its withdrawal, is none.
Whose approval counts is decided in `agreeing`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, or_, select, update

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.approval import Approval, Withdrawal
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.errors import NotFound
from aiinfra_core.registry import attestations
from aiinfra_core.registry.rows import every, first, full_row
from aiinfra_core.registry.writes import inserted, to_set, told, values
from aiinfra_core.tables import approval_withdrawals, approvals, environment_pointers, model_promotions
from aiinfra_core.tables import attestations as attestations_table

UNDECIDED = (PromotionStatus.PENDING_APPROVAL, PromotionStatus.APPROVED)
"""As long as a promotion stands so, approvals of it may be given and taken back."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Given:
    """An approval, the exact bytes of its statement, and its withdrawal if there is one."""

    approval: Approval
    envelope: bytes
    withdrawal: Withdrawal | None


_TOUCHED = (
    update(model_promotions)
    .where(
        model_promotions.c.id == bindparam("promotion"),
        model_promotions.c.updated_at == bindparam("seen_at"),
        model_promotions.c.status.in_(UNDECIDED),
    )
    .values(to_set(model_promotions, "updated_at"))
    .returning(model_promotions.c.id)
    .cte("touched")
)
_GIVE = told(inserted(attestations_table, inserted(approvals, _TOUCHED)))
_WITHDRAW = told(inserted(attestations_table, inserted(approval_withdrawals, _TOUCHED)))
_QUERY = (
    select(
        *(column.label(f"a_{column.name}") for column in approvals.c),
        *(column.label(f"w_{column.name}") for column in approval_withdrawals.c),
        attestations_table.c.envelope,
    )
    .join(attestations_table, attestations_table.c.digest == approvals.c.attestation)
    .outerjoin(approval_withdrawals, approval_withdrawals.c.approval_id == approvals.c.id)
    .order_by(approvals.c.created_at, approvals.c.id)
)
_OF_PROMOTION = _QUERY.where(approvals.c.promotion_id == bindparam("of_promotion"))
_BY_ID = _QUERY.where(approvals.c.id == bindparam("of_id"))
_SEQUENCE_NOW = (
    select(environment_pointers.c.sequence)
    .where(environment_pointers.c.environment == model_promotions.c.environment, environment_pointers.c.model == model_promotions.c.model)
    .scalar_subquery()
)
# As in the condition of the index, word for word: with bound values it would not be used.
_WAITED_FOR: ColumnElement[bool] = literal_column(
    "model_promotions.pending_until IS NOT NULL AND model_promotions.status IN ('pending_approval', 'approved')"
)
_ANY_APPROVAL = select(approvals.c.id).where(approvals.c.promotion_id == model_promotions.c.id).exists()
_UNSETTLED = (
    select(model_promotions.c.id)
    .where(
        _WAITED_FOR,
        or_(
            model_promotions.c.pending_until <= bindparam("at"),
            func.coalesce(_SEQUENCE_NOW, 0) != model_promotions.c.sequence_seen,
            _ANY_APPROVAL,
            literal_column("model_promotions.approvals_required::text = '{}'"),
        ),
    )
    .order_by(model_promotions.c.pending_until)
)


def give(connection: Connection, row: Row, approval: Approval, statement: Attestation, *, at: datetime) -> Row | None:
    """Keep an approval of a promotion that is exactly this row, with its event; return the new row, None where it was changed meanwhile.

    The caller has seen, after it read the row, that the statement is not kept yet.
    """
    kept = full_row(approvals, **{**approval.model_dump(), "roles": canonical_json.dumps(list(approval.roles)).decode()})
    digests = {"manifest": approval.manifest, "approval": statement.digest}
    return _keep(connection, _GIVE, row, "approval.given", approval.approver, statement, digests, at=at, approvals=kept)


def withdraw(
    connection: Connection, row: Row, approval: Approval, withdrawal: Withdrawal, statement: Attestation, *, at: datetime
) -> Row | None:
    """Take an approval back where its promotion is exactly this row, with its event; return the row as `give` does.

    The caller has seen, after it read the row, that it was not taken back yet.
    """
    kept = full_row(approval_withdrawals, **withdrawal.model_dump())
    digests = {"manifest": approval.manifest, "approval": approval.attestation, "withdrawal": statement.digest}
    by = withdrawal.withdrawn_by
    return _keep(connection, _WITHDRAW, row, "approval.withdrawn", by, statement, digests, at=at, approval_withdrawals=kept)


def of_promotion(tx: Connection, promotion_id: UUID) -> list[Given]:
    """Return the approvals of a promotion, those that were withdrawn too, oldest first."""
    return [_given(row) for row in every(tx, _OF_PROMOTION, {"of_promotion": promotion_id})]


def get(tx: Connection, approval_id: UUID) -> Given:
    """Return one approval.

    Raises:
        NotFound: there is no such approval.
    """
    row = first(tx, _BY_ID, {"of_id": approval_id})
    if row is None:
        raise NotFound(f"There is no approval {approval_id}.")
    return _given(row)


def unsettled(tx: Connection, at: datetime) -> list[UUID]:
    """Return the promotions that wait for people and about which something may have to be done now.

    They waited too long, something else became current, or somebody approved, and then perhaps they were the last.
    """
    return list(tx.execute(_UNSETTLED, {"at": at}).scalars())


def _keep(
    connection: Connection,
    query: Any,
    row: Row,
    event_type: str,
    actor: str,
    statement: Attestation,
    digests: Mapping[str, str],
    *,
    at: datetime,
    **kept: Row,
) -> Row | None:
    at = max(at, row["updated_at"] + timedelta(microseconds=1))
    rows = {"model_promotions": {**row, "updated_at": at}, **kept, "attestations": attestations.row_of(statement, at)}
    tell = event(
        event_type, at=at, actor=actor, request_id=f"approve:{statement.digest}", subject=str(row["id"]), rows=rows, digests=digests
    )
    bound = {"promotion": row["id"], "seen_at": row["updated_at"], "set_updated_at": at} | values("event", tell)
    for table in (*kept, "attestations"):
        bound |= values(table, rows[table])
    return rows["model_promotions"] if first(connection, query, bound) else None


def _given(row: Mapping[str, Any]) -> Given:
    given = {name.removeprefix("a_"): value for name, value in row.items() if name.startswith("a_")}
    taken = {name.removeprefix("w_"): value for name, value in row.items() if name.startswith("w_")}
    return Given(
        approval=Approval(**{**given, "roles": tuple(canonical_json.loads(given["roles"]))}),
        envelope=bytes(row["envelope"]),
        withdrawal=None if taken["approval_id"] is None else Withdrawal(**taken),
    )
