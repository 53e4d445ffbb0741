"""What a model can go back to in an environment: what was current there before; and what an earlier request to go back gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from aiinfra_core.errors import BadInput, NotFound, RequestIdReused
from aiinfra_core.registry.promotion_requests import OPERATION

_WAS_CURRENT = """
SELECT artifact.id AS artifact_id, artifact.version, before.evaluation_digest AS judged_on
FROM model_promotions AS before
JOIN model_artifacts AS artifact ON artifact.id = before.artifact_id
WHERE before.environment = :environment AND before.model = :model AND before.applied_at IS NOT NULL AND before.artifact_id <> :current"""
# What was sent back since, by a person or by a rollout that had to judge the same bytes again, or is gone, is no good one.
_GOOD = text(f"""{_WAS_CURRENT}
  AND NOT EXISTS (
    SELECT FROM model_promotions AS later
    WHERE later.environment = before.environment AND later.model = before.model AND later.applied_at IS NOT NULL
      AND later.sequence_seen >= before.sequence_seen AND later.artifact_id = before.artifact_id AND later.status = 'rolled_back')
  AND NOT EXISTS (SELECT FROM artifact_tombstones AS gone WHERE gone.artifact_id = before.artifact_id)
  AND NOT EXISTS (
    SELECT FROM rollouts AS rollout
    JOIN model_promotions AS sent_back ON sent_back.id = rollout.promotion_id
    JOIN model_artifacts AS challenger ON challenger.id = sent_back.artifact_id AND challenger.checksum = artifact.checksum
    WHERE rollout.environment = before.environment AND rollout.model = before.model AND rollout.status = 'rolled_back'
      AND rollout.ended_at > before.applied_at)
ORDER BY before.sequence_seen DESC LIMIT 1""")  # noqa: S608 - a constant of ours
_OF_VERSION = text(f"{_WAS_CURRENT} AND artifact.version = :version ORDER BY before.sequence_seen DESC LIMIT 1")
# Those that can still be named: they were sent back, and are not gone.
_LEFT = text(f"""SELECT DISTINCT version FROM ({_WAS_CURRENT}
  AND NOT EXISTS (SELECT FROM artifact_tombstones AS gone WHERE gone.artifact_id = before.artifact_id)) AS named
ORDER BY version""")  # noqa: S608 - a constant of ours
_STANDING = text("""
SELECT here.sequence, here.promotion_id, here.artifact_id, artifact.version
FROM environment_pointers AS here JOIN model_artifacts AS artifact ON artifact.id = here.artifact_id
WHERE here.environment = :environment AND here.model = :model""")
_VERSION = text("""
SELECT artifact.version FROM model_promotions AS promotion JOIN model_artifacts AS artifact ON artifact.id = promotion.artifact_id
WHERE promotion.id = :promotion""")
_ASKED = text("""
SELECT promotion.id, promotion.requested_by, promotion.environment, promotion.model, promotion.rollback ->> 'reason' AS reason,
  artifact.version
FROM request_ids AS request
JOIN model_promotions AS promotion ON promotion.id = request.subject_id
JOIN model_artifacts AS artifact ON artifact.id = promotion.artifact_id
WHERE request.operation = :operation AND request.request_id = :request""")
_ORDERED = text("""
SELECT rollout.promotion_id, given.ordered_by, given.reason, champion.version
FROM rollouts AS rollout
JOIN rollout_orders AS given ON given.rollout_id = rollout.id AND given.action = 'rollback' AND given.request_id = :request
JOIN model_promotions AS standing ON standing.id = rollout.champion
JOIN model_artifacts AS champion ON champion.id = standing.artifact_id
WHERE rollout.environment = :environment AND rollout.model = :model""")


@dataclass(frozen=True)
class Target:
    """A version that can be gone back to, and the digest of the evaluation it was judged on when it became current there."""

    artifact_id: UUID
    version: int
    judged_on: str | None


@dataclass(frozen=True)
class Standing:
    """What is current: at which sequence, by which promotion, and which version it is."""

    sequence: int
    promotion_id: UUID
    artifact_id: UUID
    version: int


@dataclass(frozen=True)
class Gave:
    """What an earlier request of the same id gave: the promotion, who asked and why, and the version it went to, or stayed at."""

    promotion_id: UUID
    asked_by: str
    reason: str | None
    version: int


def standing(tx: Connection, environment: str, model: str) -> Standing:
    """Return what is current.

    Raises:
        NotFound: nothing is.
    """
    row = _one(tx, _STANDING, environment=environment, model=model)
    if row is None:
        raise NotFound(
            f"Nothing is current for {model} in {environment}, so there is nothing to go back from; see: aiinfra models show {model}"
        )
    return Standing(**row)


def good(tx: Connection, environment: str, now: Standing, model: str) -> Target:
    """Return the version that was current last before what is so now, of those that were not sent back since.

    Raises:
        NotFound: there is none.
    """
    row = _one(tx, _GOOD, environment=environment, model=model, current=now.artifact_id)
    if row is None:
        raise NotFound(_nowhere(tx, environment, now, model))
    return Target(**row)


def _nowhere(tx: Connection, environment: str, now: Standing, model: str) -> str:
    bound = {"environment": environment, "model": model, "current": now.artifact_id}
    versions = ", ".join(str(version) for version in tx.execute(_LEFT, bound).scalars())
    instead = f"promote a version: aiinfra promote {model}:VERSION --to {environment}"
    if not versions:
        return f"Nothing else was current in {environment} to go back to; {instead}"
    return f"What else was current in {environment} was sent back since; go there all the same with --to ({versions}), or {instead}"


def of_version(tx: Connection, environment: str, now: Standing, model: str, version: int) -> Target:
    """Return a version that somebody names.

    Raises:
        NotFound: it was never current there.
        BadInput: it is so now.
    """
    if version == now.version:
        raise BadInput(f"{model}:{version} is what is current in {environment}; name a version that was so before.")
    row = _one(tx, _OF_VERSION, environment=environment, model=model, current=now.artifact_id, version=version)
    if row is None:
        raise NotFound(f"{model}:{version} was never current in {environment}, so one cannot go back to it; promote it instead.")
    return Target(**row)


def version_of(tx: Connection, promotion_id: UUID) -> int:
    """Return which version a promotion is about.

    Raises:
        NotFound: there is no such promotion.
    """
    row = _one(tx, _VERSION, promotion=promotion_id)
    if row is None:
        raise NotFound(f"There is no promotion {promotion_id}.")
    return int(row["version"])


def asked_before(tx: Connection, request_id: str, environment: str, model: str) -> Gave | None:
    """Return the promotion that an earlier request of this id made, or None.

    Raises:
        RequestIdReused: it was no request to go back, or one of another model or environment.
    """
    row = _one(tx, _ASKED, operation=OPERATION, request=request_id)
    if row is None:
        return None
    if row["reason"] is None or (row["environment"], row["model"]) != (environment, model):
        raise RequestIdReused(f"Request id {request_id} was used before for another promotion; choose a new one.")
    return Gave(row["id"], row["requested_by"], row["reason"], row["version"])


def ordered_before(tx: Connection, request_id: str, environment: str, model: str) -> Gave | None:
    """Return the promotion whose rollout an earlier request of this id ended, or None."""
    row = _one(tx, _ORDERED, request=request_id, environment=environment, model=model)
    return None if row is None else Gave(row["promotion_id"], row["ordered_by"], row["reason"], row["version"])


def _one(tx: Connection, query: Any, **bound: Any) -> Mapping[str, Any] | None:
    row = tx.execute(query, bound).mappings().one_or_none()
    return None if row is None else {str(name): value for name, value in row.items()}
