"""Promotions and the pointers they move, as they stand. Every move of them lives in `promotion_moves`."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Connection, bindparam, func, literal_column, select

from aiinfra_core import canonical_json
from aiinfra_core.domain.promotion import Decision, Pointer, Promotion
from aiinfra_core.registry.rows import every, first, row_by_id
from aiinfra_core.tables import environment_pointers, model_promotions

_POINTER = (environment_pointers.c.environment == bindparam("in_environment")) & (environment_pointers.c.model == bindparam("of_model"))
# As in the condition of the index: with a bound value it would not be used.
_WAITS = literal_column("model_promotions.status = 'pending_approval'", Boolean())


def get(tx: Connection, promotion_id: UUID) -> Promotion:
    """Return one promotion.

    Raises:
        NotFound: there is no such promotion.
    """
    return promotion_from(row_by_id(tx, model_promotions, promotion_id, "promotion"))


def of_artifact(tx: Connection, artifact_id: UUID) -> list[Promotion]:
    """Return the promotions of an artifact, newest first."""
    query = select(model_promotions).where(model_promotions.c.artifact_id == artifact_id).order_by(model_promotions.c.created_at.desc())
    return [promotion_from(row) for row in every(tx, query)]


def waiting(tx: Connection, limit: int) -> list[Promotion]:
    """Return the promotions that wait for people, newest first."""
    query = select(model_promotions).where(_WAITS).order_by(model_promotions.c.created_at.desc()).limit(limit)
    return [promotion_from(row) for row in every(tx, query)]


def pointer(tx: Connection, environment: str, model: str) -> Pointer | None:
    """Return what is current for a model in an environment, or None."""
    row = first(tx, select(environment_pointers).where(_POINTER), {"in_environment": environment, "of_model": model})
    return None if row is None else Pointer(**row)


def sequence(tx: Connection, environment: str, model: str) -> int:
    """Return the sequence of what is current for a model in an environment, 0 where nothing is."""
    query = select(environment_pointers.c.sequence).where(_POINTER)
    return tx.execute(query, {"in_environment": environment, "of_model": model}).scalar_one_or_none() or 0


def pointers(tx: Connection) -> list[Pointer]:
    """Return what is current everywhere, by model and environment; `updated_at` says since when, whatever its traffic did meanwhile."""
    kept = [column for column in environment_pointers.c if column is not environment_pointers.c.updated_at]
    query = select(*kept, func.coalesce(model_promotions.c.applied_at, environment_pointers.c.updated_at).label("updated_at"))
    query = query.outerjoin(model_promotions, model_promotions.c.id == environment_pointers.c.promotion_id)
    return [Pointer(**row) for row in every(tx, query.order_by(environment_pointers.c.model, environment_pointers.c.environment))]


def promotion_from(row: Mapping[str, Any]) -> Promotion:
    """Return the record of a row."""
    decision = None if row["decision"] is None else Decision(**canonical_json.loads(row["decision"]))
    read = {name: canonical_json.loads(row[name]) if row[name] else None for name in ("approvals_required", "rollout", "rollback")}
    return Promotion(**{**row, **read, "evaluation": canonical_json.loads(row["evaluation"]), "decision": decision})
