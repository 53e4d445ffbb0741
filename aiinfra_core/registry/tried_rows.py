"""How often the same bytes were tried in an environment to no end, and what sent them back: for many promotions in one statement each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from aiinfra_core.rollout_tables import rollouts

_EVER = datetime.max.replace(tzinfo=UTC)
_NUMBERS = text("""
SELECT asked.number, count(*) AS tries
FROM unnest(CAST(:environments AS text[]), CAST(:models AS text[]), CAST(:checksums AS text[]), CAST(:moments AS timestamptz[]))
  WITH ORDINALITY AS asked (environment, model, checksum, until, number)
JOIN rollouts AS tried ON tried.environment = asked.environment AND tried.model = asked.model
  AND tried.ended_at <= asked.until AND tried.status <> 'completed'
JOIN model_promotions AS promotion ON promotion.id = tried.promotion_id
JOIN model_artifacts AS challenger ON challenger.id = promotion.artifact_id AND challenger.checksum = asked.checksum
GROUP BY asked.number""")
_OVERRIDDEN = select(rollouts.c.id, rollouts.c.reason, rollouts.c.ended_at)

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class Tried:
    """Bytes of a model in an environment, and until when to look; None for now."""

    environment: str
    model: str
    checksum: str
    until: datetime | None = None


def numbers(tx: Connection, asked: Sequence[Tried]) -> list[int]:
    """Return for each how many rollouts of these bytes ended there without giving them all traffic, whoever or whatever ended them."""
    bound = {
        "environments": [one.environment for one in asked],
        "models": [one.model for one in asked],
        "checksums": [one.checksum for one in asked],
        "moments": [one.until or _EVER for one in asked],
    }
    found = {row["number"]: row["tries"] for row in tx.execute(_NUMBERS, bound).mappings()} if asked else {}
    return [found.get(number, 0) for number in range(1, len(asked) + 1)]


def overridden(tx: Connection, ids: Sequence[UUID | None]) -> list[Row | None]:
    """Return the rollouts that are overridden: their ids, why they ended and when."""
    wanted = [one for one in ids if one]
    found = {row["id"]: row for row in tx.execute(_OVERRIDDEN.where(rollouts.c.id.in_(wanted))).mappings()} if wanted else {}
    return [found.get(one) if one else None for one in ids]
