"""Rollouts as they are shown: with the versions they are about, in pages, and with the looks that tell their story."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, func, literal, or_, select, tuple_

from aiinfra_core.domain.rollout import Look, Verdict
from aiinfra_core.errors import NotFound
from aiinfra_core.registry import artifacts, promotions, rollouts
from aiinfra_core.registry.rows import every, first
from aiinfra_core.rollout_tables import canary_looks
from aiinfra_core.rollout_tables import rollouts as table
from aiinfra_core.tables import model_artifacts, model_promotions
from aiinfra_core.wire.rollouts import SentRollout, SentRolloutDetails, sent_details, sent_look, sent_rollout

MOST_LOOKS = 500
"""How many looks come with a rollout where nobody says how many."""


def newest(
    tx: Connection,
    *,
    environment: str | None = None,
    model: str | None = None,
    only_open: bool = False,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
) -> list[SentRollout]:
    """Return rollouts, newest first; `after` is where the last one stood that was seen."""
    wanted = {table.c.environment: environment, table.c.model: model}
    query = _with_versions().where(*(column == value for column, value in wanted.items() if value is not None))
    if only_open:
        query = query.where(table.c.ended_at.is_(None))
    if after is not None:
        query = query.where(tuple_(table.c.created_at, table.c.id) < tuple_(literal(after[0]), literal(after[1])))
    return [_sent(row) for row in every(tx, query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit))]


def get(tx: Connection, rollout_id: UUID) -> SentRollout:
    """Return one rollout.

    Raises:
        NotFound: there is no such rollout.
    """
    row = first(tx, _with_versions().where(table.c.id == rollout_id))
    if row is None:
        raise NotFound(f"There is no rollout {rollout_id}.")
    return _sent(row)


def details(tx: Connection, rollout_id: UUID, *, after: int | None = None, limit: int = MOST_LOOKS) -> SentRolloutDetails:
    """Return a rollout with its orders, and of its looks those after one, in order; without one so many of all of them, evenly chosen.

    Raises:
        NotFound: there is no such rollout.
    """
    found = rollouts.get(tx, rollout_id)
    looks = _chosen(tx, rollout_id, found.looks, limit) if after is None else rollouts.looks(tx, rollout_id, after=after, most=limit)
    challenger, champion = (artifacts.get(tx, promotions.get(tx, one).artifact_id) for one in (found.promotion_id, found.champion))
    return sent_details(
        found,
        challenger,
        champion,
        [sent_look(look, with_queries=after is not None) for look in looks],
        rollouts.orders(tx, rollout_id),
    )


def _chosen(tx: Connection, rollout_id: UUID, there_are: int, limit: int) -> Sequence[Look]:
    by_number = select(canary_looks).where(canary_looks.c.rollout_id == rollout_id).order_by(canary_looks.c.number)
    if there_are <= limit:
        return [rollouts.look_from(row) for row in every(tx, by_number)]
    numbers = [1 + round(place * (there_are - 1) / max(1, limit - 1)) for place in range(limit)]
    moved = canary_looks.c.verdict != Verdict.HOLD.value
    rows = every(tx, by_number.where(or_(canary_looks.c.number == func.any(numbers), moved)))
    return [rollouts.look_from(row) for row in rows]


def _with_versions() -> Select[Any]:
    query = select(table)
    for arm, promotion in (("challenger", table.c.promotion_id), ("champion", table.c.champion)):
        asked, made = model_promotions.alias(f"{arm}_promotion"), model_artifacts.alias(f"{arm}_artifact")
        query = query.join(asked, asked.c.id == promotion).join(made, made.c.id == asked.c.artifact_id)
        query = query.add_columns(made.c.version.label(f"{arm}_version"))
    return query


def _sent(row: Mapping[str, Any]) -> SentRollout:
    own = {name: value for name, value in row.items() if name in table.c}
    return sent_rollout(rollouts.rollout_from(own), row["challenger_version"], row["champion_version"])
