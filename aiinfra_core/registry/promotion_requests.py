"""Asking for a promotion: the row that every move of it (`promotion_moves`) begins with, once for each request id."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection

from aiinfra_core import canonical_json, checksums
from aiinfra_core.audit_log.append import event
from aiinfra_core.domain.artifact import Artifact, Evaluation, JudgedEvaluation
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.rollout import Rollback
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.errors import Conflict
from aiinfra_core.registry import requests
from aiinfra_core.registry.dossier import Current
from aiinfra_core.registry.rows import first, full_row
from aiinfra_core.registry.writes import inserted, inserted_if_new, told, values
from aiinfra_core.tables import model_promotions, request_ids

OPERATION = "promote"
_REQUEST = told(inserted(model_promotions, inserted_if_new(request_ids)))

Row = Mapping[str, Any]
ToJudge = JudgedEvaluation | Evaluation
"""What a promotion is judged on: a caller's claim, or an evaluation that is recorded."""


@dataclass(frozen=True)
class Way:
    """How a promotion is to become current: by which spec it earns its traffic, from what it goes back, which rollout it overrides.

    All of it is part of what is asked for; None each, which is all at once, adds nothing to a request's identity.
    """

    rollout: RolloutSpec | None = None
    rollback: Rollback | None = None
    overrides: UUID | None = None

    def columns(self) -> dict[str, Any]:
        """Return it as it is kept."""
        back = self.rollback and canonical_json.dumps(self.rollback.model_dump(mode="json", by_alias=True)).decode()
        return {"rollout": self.rollout and self.rollout.document(), "rollback": back, "overrides": self.overrides}

    def identity(self) -> dict[str, str]:
        """Return what tells it from another way."""
        rollout, rollback = self.rollout and self.rollout.digest(), self.rollback and str(self.rollback.replaces)
        parts = {"rollout": rollout, "rollback": rollback, "overrides": self.overrides and str(self.overrides)}
        return {name: part for name, part in parts.items() if part}


AT_ONCE = Way()


def request(
    connection: Connection,
    *,
    artifact: Artifact,
    environment: str,
    evaluation: ToJudge | None,
    said: Way = AT_ONCE,
    way: Way = AT_ONCE,
    replaces: Current,
    requested_by: str,
    asked_by: str,
    request_id: str,
    at: datetime,
) -> Row | UUID:
    """Ask for a promotion and return its row; where the same request was asked before, only the id of what it gave.

    Its event names as actor who asked, also where they did so for `requested_by`. `said` is what makes it the same request when it is
    asked again, `way` what came of that and is kept.

    Raises:
        Conflict: the request id was used for another promotion, or was freed at this very moment.
    """
    body = _body(artifact, environment, evaluation, said)
    row = full_row(
        model_promotions,
        id=uuid4(),
        request_id=request_id,
        artifact_id=artifact.id,
        model=artifact.model,
        environment=environment,
        status=PromotionStatus.REQUESTED,
        evaluation=canonical_json.dumps(evaluation.metrics if evaluation else {}).decode(),
        evaluation_kind=evaluation.kind if evaluation else None,
        evaluation_digest=evaluation.digest if evaluation else None,
        sequence_seen=replaces.sequence,
        follows=replaces.manifest,
        requested_by=requested_by,
        asked_by=None if asked_by == requested_by else asked_by,
        created_at=at,
        updated_at=at,
        **way.columns(),
    )
    claimed = requests.row_of(OPERATION, request_id, body, row["id"], at)
    tell = event_of("promotion.requested", row, at, {"artifact": artifact.checksum}, asked_by)
    if first(connection, _REQUEST, values("request_ids", claimed) | values("model_promotions", row) | values("event", tell)):
        return row
    asked = requests.earlier(connection, OPERATION, request_id, body)
    if asked is None:
        raise Conflict(f"Request {request_id} ended at this very moment because a part was unavailable; ask again.")
    return asked


def default_id(artifact: Artifact, environment: str, evaluation: ToJudge | None, seen: int, said: Way = AT_ONCE) -> str:
    """Return the id of a request that has none of its own; `seen` is the sequence of what was current."""
    identity: list[Any] = [str(artifact.id), environment, evaluation.digest if evaluation else None, seen]
    identity += [said.identity()] if said != AT_ONCE else []
    return "promote:" + checksums.sha256_hex(canonical_json.dumps(identity))


def id_after(refused: UUID) -> str:
    """Return the id under which a question without one of its own is asked anew after a promotion that was refused."""
    return "promote:" + checksums.sha256_hex(canonical_json.dumps(["again", str(refused)]))


def asked_before(
    connection: Connection,
    artifact: Artifact,
    environment: str,
    evaluation: ToJudge | None,
    request_id: str,
    said: Way = AT_ONCE,
) -> UUID | None:
    """Return the promotion that this request gave earlier, or None when it is new.

    Raises:
        RequestIdReused: the request id was used for another promotion.
    """
    return requests.earlier(connection, OPERATION, request_id, _body(artifact, environment, evaluation, said))


def event_of(
    event_type: str, row: Row, at: datetime, digests: Mapping[str, str] | None = None, actor: str | None = None, /, **other_rows: Row
) -> dict[str, str]:
    """Return the event that tells of a promotion's row as it is now, and of the rows that were written with it."""
    return event(
        event_type,
        at=at,
        actor=actor or row["requested_by"],
        request_id=row["request_id"],
        subject=str(row["id"]),
        rows={"model_promotions": row, **other_rows},
        digests=digests,
    )


def _body(artifact: Artifact, environment: str, evaluation: ToJudge | None, said: Way) -> dict[str, Any]:
    judged = evaluation.digest if evaluation else None
    return {"artifact": str(artifact.id), "environment": environment, "evaluation": judged, **said.identity()}
