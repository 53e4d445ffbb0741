"""Which entries of the log tell of the rollouts by which promotions earned their traffic, and of those whose rollback they override."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, text

from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.rollout_tables import rollouts
from aiinfra_core.tables import model_artifacts, model_promotions

_OF_IT = "payload -> 'rows' -> 'rollouts' ->> 'id' = :id"
_FROM = f"SELECT seq FROM audit_events WHERE created_at >= :since AND {_OF_IT} AND {{}} ORDER BY created_at LIMIT 1"  # noqa: S608 - our own
_STARTS = text(_FROM.format("event_type = 'rollout.started'"))
_ENDS = text(_FROM.format("payload -> 'rows' -> 'rollouts' ->> 'ended_at' IS NOT NULL"))
_BETWEEN = text(
    f"SELECT seq FROM audit_events WHERE seq BETWEEN :first AND :last AND event_type LIKE 'rollout.%' AND {_OF_IT}"  # noqa: S608 - our own
)
_GOES_BACK = text(
    "SELECT seq FROM audit_events WHERE created_at >= :since AND event_type = 'rollback.applied'"
    " AND payload -> 'rows' -> 'model_promotions' ->> 'id' = :id ORDER BY created_at LIMIT 1"
)


def entries(tx: Connection, chain: Sequence[Promotion]) -> list[int | None]:
    """Return the entries of every rollout of these promotions, of the end of each they override, and of what each rollback replaced.

    None stands for one that is not in the log yet.
    """
    found: list[int | None] = []
    for row in tx.execute(select(rollouts).where(rollouts.c.promotion_id.in_([one.id for one in chain]))).all():
        found += _whole(tx, row)
    for row in tx.execute(select(rollouts).where(rollouts.c.id.in_(_overridden(chain)))).all():
        found.append(_end(tx, row))
    return found + [_replaced(tx, one) for one in chain if one.rollback]


def registrations(tx: Connection, chain: Sequence[Promotion]) -> Iterator[str]:
    """Yield the registration of what each rollout had sent back that one of these promotions overrides."""
    query = (
        select(model_artifacts.c.attestation)
        .join(model_promotions, model_promotions.c.artifact_id == model_artifacts.c.id)
        .join(rollouts, rollouts.c.promotion_id == model_promotions.c.id)
    )
    yield from tx.execute(query.where(rollouts.c.id.in_(_overridden(chain)))).scalars()


def _whole(tx: Connection, row: Row[Any]) -> Iterable[int | None]:
    first, last = tx.execute(_STARTS, {"since": row.created_at, "id": str(row.id)}).scalar(), _end(tx, row)
    if first is None or last is None:
        return [None]
    return [first, last, *tx.execute(_BETWEEN, {"first": first, "last": last, "id": str(row.id)}).scalars()]


def _end(tx: Connection, row: Row[Any]) -> int | None:
    return tx.execute(_ENDS, {"since": row.ended_at or row.updated_at, "id": str(row.id)}).scalar()


def _replaced(tx: Connection, promotion: Promotion) -> int | None:
    assert promotion.rollback is not None  # noqa: S101 - a slip of ours: only rollbacks are asked about
    return tx.execute(_GOES_BACK, {"since": promotion.applied_at, "id": str(promotion.rollback.replaces)}).scalar()


def _overridden(chain: Sequence[Promotion]) -> list[UUID]:
    return [one.overrides for one in chain if one.overrides]
