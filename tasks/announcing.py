"""What became of a promotion as an event of Prefect, so that an automation can act on it (deployments/automations.yaml).

Those that go on outside of a flow, when the last person agrees, are told by the webhook alone (docs/notifications.md).
"""

from uuid import uuid5

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Promotion


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
