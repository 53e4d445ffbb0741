"""What each gate said about a promotion, one row for each, with what its rules could see; and the policies that were applied.

The move a decision leads to, in the same transaction, lives in `promotion_moves`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, select

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.promotion import Decision, Stage
from aiinfra_core.registry.rows import first, full_row
from aiinfra_core.registry.writes import inserted_if_new, told, values
from aiinfra_core.rules.document import Policy
from aiinfra_core.tables import policies, policy_decisions


@dataclass(frozen=True)
class Answer:
    """What one gate said, and all that its rules could see, as the exact JSON that is kept; None for a gate that keeps its own."""

    decision: Decision
    inputs: str | None = None


@dataclass(frozen=True)
class Judgement:
    """What every gate said at one stage, and what that means together."""

    stage: Stage
    together: Decision
    answers: Sequence[Answer]


@dataclass(frozen=True)
class GateDecision:
    """A kept answer."""

    id: UUID
    promotion_id: UUID
    gate: str
    stage: Stage
    decision: Decision
    inputs: Mapping[str, Any] | None
    created_at: datetime


_ADOPT = told(inserted_if_new(policies))
_OF_PROMOTION = (
    select(policy_decisions)
    .where(policy_decisions.c.promotion_id == bindparam("of_promotion"))
    .order_by(policy_decisions.c.stage.desc(), policy_decisions.c.gate)
)


def adopt(connection: Connection, policy: Policy, *, by: str, at: datetime) -> None:
    """Keep a policy the first time it is applied, with its event; `by` is who asked for what it was applied to."""
    digest = policy.digest()
    row = full_row(policies, digest=digest, name=policy.name, version=policy.version, document=policy.document().decode(), created_at=at)
    tell = event(
        "policy.adopted", at=at, actor=by, request_id=f"policy:{digest}", subject=digest, rows={"policies": row}, digests={"policy": digest}
    )
    first(connection, _ADOPT, values("policies", row) | values("event", tell))


def row_of(promotion_id: UUID, stage: Stage, answer: Answer, at: datetime) -> dict[str, Any]:
    """Return the row of an answer."""
    return full_row(
        policy_decisions,
        id=uuid4(),
        promotion_id=promotion_id,
        gate=answer.decision.source,
        stage=stage.value,
        allowed=answer.decision.allowed,
        decision=as_text(answer.decision),
        inputs=answer.inputs,
        created_at=at,
    )


def policy(tx: Connection, digest: str) -> Policy | None:
    """Return the policy with this digest, None where it was never applied here."""
    document = tx.execute(select(policies.c.document).where(policies.c.digest == bindparam("of_digest")), {"of_digest": digest}).scalar()
    return None if document is None else Policy.model_validate(canonical_json.loads(document))


def as_text(decision: Decision) -> str:
    """Return a decision as it is kept."""
    return canonical_json.dumps(decision.model_dump(mode="json", by_alias=True)).decode()


def of_promotion(tx: Connection, promotion_id: UUID) -> list[GateDecision]:
    """Return what every gate said about a promotion, in the order they were asked."""
    return [_kept(row) for row in tx.execute(_OF_PROMOTION, {"of_promotion": promotion_id}).mappings()]


def _kept(row: Mapping[Any, Any]) -> GateDecision:
    return GateDecision(
        id=row["id"],
        promotion_id=row["promotion_id"],
        gate=row["gate"],
        stage=Stage(row["stage"]),
        decision=Decision(**canonical_json.loads(row["decision"])),
        inputs=None if row["inputs"] is None else canonical_json.loads(row["inputs"]),
        created_at=row["created_at"],
    )
