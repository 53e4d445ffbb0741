"""Promotions that were decided, as a policy would have seen them then: what `simulating` replays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import EvaluationKind, JudgedEvaluation
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.registry.artifacts import artifact_from
from aiinfra_core.registry.policy_inputs import Case
from aiinfra_core.tables import model_artifacts

Place = tuple[datetime, UUID]


@dataclass(frozen=True)
class Which:
    """Which promotions: of one environment or all, of one model or all, asked for since a time or ever."""

    environment: str | None = None
    model: str | None = None
    since: datetime | None = None


@dataclass(frozen=True)
class Past:
    """A promotion that was decided: what a policy would have seen, what was said, and how it ended."""

    id: UUID
    case: Case
    allowed: bool
    gate: str
    status: str
    created_at: datetime


_WHICH = """
FROM model_promotions AS asked
WHERE asked.decision IS NOT NULL AND (CAST(:environment AS text) IS NULL OR asked.environment = :environment)
  AND (CAST(:model AS text) IS NULL OR asked.model = :model)
  AND (CAST(:since AS timestamptz) IS NULL OR asked.created_at >= :since)"""
_NUMBER = text(f"SELECT count(*) {_WHICH}")
_COLUMNS = ", ".join(
    f"artifact.{column.name}{'::text' if column.name == 'metadata' else ''} AS a_{column.name}" for column in model_artifacts.columns
)
_PAGE = text(f"""
SELECT page.*, {_COLUMNS}, coalesce(said.created_at, page.created_at) AS decided_at, coalesce(said.allowed, page.allowed) AS allowed_then,
  coalesce(said.gate, page.source) AS gate, replaced.version AS replaced_version
FROM (
  SELECT asked.id, asked.artifact_id, asked.environment, asked.status, asked.requested_by, asked.asked_by, asked.created_at,
    asked.evaluation::text AS evaluation, asked.evaluation_kind, asked.evaluation_digest,
    asked.rollout::text AS rollout, asked.rollback::text AS rollback, asked.overrides,
    (asked.decision ->> 'allowed')::boolean AS allowed, asked.decision ->> 'source' AS source
  {_WHICH} AND (asked.created_at, asked.id) > (:after, :after_id)
  ORDER BY asked.created_at, asked.id LIMIT :most
) AS page
JOIN model_artifacts AS artifact ON artifact.id = page.artifact_id
LEFT JOIN model_promotions AS sent_back ON sent_back.id = (page.rollback::json ->> 'replaces')::uuid
LEFT JOIN model_artifacts AS replaced ON replaced.id = sent_back.artifact_id
LEFT JOIN policy_decisions AS said ON said.promotion_id = page.id AND said.gate = 'local' AND said.stage = 'request'
ORDER BY page.created_at, page.id""")  # noqa: S608 - constants of this file


def number(tx: Connection, which: Which) -> int:
    """Return how many there are."""
    return int(tx.execute(_NUMBER, _bound(which)).scalar_one())


def page(tx: Connection, which: Which, after: Place, most: int) -> Sequence[Past]:
    """Return the next ones, oldest first."""
    bound = _bound(which) | {"after": after[0], "after_id": after[1], "most": most}
    return [_past(row) for row in tx.execute(_PAGE, bound).mappings()]


def _bound(which: Which) -> dict[str, Any]:
    return {"environment": which.environment, "model": which.model, "since": which.since}


def _past(row: Mapping[Any, Any]) -> Past:
    judged = row["evaluation_kind"] and JudgedEvaluation(
        kind=EvaluationKind(row["evaluation_kind"]), metrics=canonical_json.loads(row["evaluation"]), digest=row["evaluation_digest"]
    )
    case = Case(
        artifact=artifact_from({name.removeprefix("a_"): value for name, value in row.items() if name.startswith("a_")}),
        environment=row["environment"],
        requester=row["requested_by"],
        asked_by=row["asked_by"],
        judged=judged or None,
        asked_at=row["created_at"],
        at=row["decided_at"],
        promotion_id=row["id"],
        past=True,
        rollout=RolloutSpec(**canonical_json.loads(row["rollout"])) if row["rollout"] else None,
        overrides=row["overrides"],
        goes_back=(Rollback(**canonical_json.loads(row["rollback"])), row["replaced_version"]) if row["rollback"] else None,
    )
    return Past(row["id"], case, row["allowed_then"], row["gate"], row["status"], row["created_at"])
