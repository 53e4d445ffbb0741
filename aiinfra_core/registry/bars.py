"""Bytes that a rollout sent back by itself: in that environment they are refused until somebody overrides that very rollout, by its id.

What a person sent back, stopped, or nobody could judge in time bars nothing.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import ScalarSelect

from aiinfra_core.domain.rollout import Action, RolloutStatus
from aiinfra_core.registry.rows import first
from aiinfra_core.rollout_tables import rollout_orders, rollouts
from aiinfra_core.tables import model_artifacts, model_promotions

_CHALLENGERS, _SENT_BACK = model_artifacts.alias("challengers"), model_promotions.alias("sent_back")
_BY_A_PERSON = select(rollout_orders.c.id).where(rollout_orders.c.rollout_id == rollouts.c.id, rollout_orders.c.action == Action.ROLLBACK)


def barring(environment: ColumnElement[str], model: ColumnElement[str], checksum: ColumnElement[str]) -> ScalarSelect[UUID]:
    """Return, as part of a query, the rollout that sent these bytes back in an environment last; null where none did."""
    query = (
        select(rollouts.c.id)
        .join(_SENT_BACK, _SENT_BACK.c.id == rollouts.c.promotion_id)
        .join(_CHALLENGERS, _CHALLENGERS.c.id == _SENT_BACK.c.artifact_id)
        .where(rollouts.c.environment == environment, rollouts.c.model == model, rollouts.c.status == RolloutStatus.ROLLED_BACK)
        .where(_CHALLENGERS.c.checksum == checksum, ~_BY_A_PERSON.exists())
    )
    return query.order_by(rollouts.c.ended_at.desc()).limit(1).scalar_subquery()


_OF_PROMOTION = select(
    barring(model_promotions.c.environment, model_promotions.c.model, model_artifacts.c.checksum).label("rollout_id")
).select_from(model_promotions.join(model_artifacts, model_artifacts.c.id == model_promotions.c.artifact_id))
_OF_PROMOTION = _OF_PROMOTION.where(model_promotions.c.id == bindparam("of_promotion"))


def why_barred(connection: Connection, promotion: Mapping[str, Any]) -> str | None:
    """Return why the bytes of a promotion may not become current in its environment, or None.

    What a person goes back to had been current there, whatever was found of it when it was to be so once more.
    """
    if promotion["rollback"]:
        return None
    found = first(connection, _OF_PROMOTION, {"of_promotion": promotion["id"]})
    return None if found is None else refusal(found["rollout_id"], promotion["overrides"])


def refusal(rollout_id: UUID | None, overrides: UUID | None) -> str | None:
    """Return why bytes are refused that this rollout sent back, unless it is the one that is overridden."""
    if rollout_id is None or rollout_id == overrides:
        return None
    return f"rollout {rollout_id} sent these bytes back; promote other bytes, or try them again with: --override {rollout_id}"
