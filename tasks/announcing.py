"""What became of a promotion or a rollout as an event of Prefect, so that an automation can act on it (deployments/automations.yaml).

Those that go on outside of a flow, when the last person agrees or the service looks, are told by the webhook alone (docs/notifications.md).
"""

from collections.abc import Sequence
from uuid import uuid5

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.domain.rollout import OPEN, Look, Rollout, Verdict
from aiinfra_core.rolling_out import Looked


@task(cache_policy=NO_CACHE)
def announce_promotion(promotion: Promotion, artifact: Artifact) -> None:
    """Emit `aiinfra.promotion.STATUS`; run again, it is the same event."""
    name = f"{artifact.model}:{artifact.version}"
    resource = {
        "prefect.resource.id": f"aiinfra.promotion.{promotion.id}",
        "prefect.resource.name": f"{name} to {promotion.environment}",
        "aiinfra.model": promotion.model,
        "aiinfra.environment": promotion.environment,
    }
    payload = {"artifact": name, "artifactId": str(artifact.id), "requestedBy": promotion.requested_by, "reason": promotion.reason}
    told = f"aiinfra.promotion.{promotion.status}"
    emit_event(told, resource, occurred=promotion.updated_at, payload=payload, id=uuid5(promotion.id, told))


@task(cache_policy=NO_CACHE)
def announce_looks(looked: Sequence[Looked]) -> None:
    """Emit `aiinfra.rollout.advanced`, or `aiinfra.rollout.STATUS` of one that ended, for each look that changed traffic."""
    for one in looked:
        if one.look is not None and one.look.verdict is not Verdict.HOLD:
            _announce_look(one.rollout, one.look)


def _announce_look(rollout: Rollout, look: Look) -> None:
    resource = {
        "prefect.resource.id": f"aiinfra.rollout.{rollout.id}",
        "prefect.resource.name": f"{rollout.model} in {rollout.environment}",
        "aiinfra.model": rollout.model,
        "aiinfra.environment": rollout.environment,
    }
    payload = {"promotionId": str(rollout.promotion_id), "look": look.number, "weight": rollout.weight, "reason": look.reason}
    told = f"aiinfra.rollout.{'advanced' if rollout.status in OPEN else rollout.status}"
    emit_event(told, resource, occurred=look.created_at, payload=payload, id=uuid5(rollout.id, f"{told}:{look.number}"))
