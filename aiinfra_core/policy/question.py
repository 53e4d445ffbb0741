"""What the gate is asked, and the exact body SentinelNet gets. Answering it lives in `local` and `sentinelnet`."""

from typing import Any
from uuid import UUID

from aiinfra_core.domain.record import Actor, JsonObject, Name, Record, RequestId, Sha256

ACTION = "model.promote"


class Question(Record):
    """May this artifact become current in this environment? `evaluation` is what was recorded, as it was said.

    `rollback` is there where it goes back to it: `reason`, `fromVersion`, `toVersion`.
    """

    request_id: RequestId
    actor: Actor
    artifact_id: UUID
    model: Name
    version: int
    digest: Sha256
    environment: Name
    evaluation: JsonObject
    promotion_id: UUID
    manifest_signature_id: str | None = None
    rollback: JsonObject | None = None

    def body(self) -> dict[str, Any]:
        """Return the body of `POST /sentinelnet/check`."""
        artifact_id = str(self.artifact_id)
        return {
            "action": ACTION,
            "request_id": self.request_id,
            "actor": self.actor,
            "resource": {
                "artifactId": artifact_id,
                "model": self.model,
                "version": self.version,
                "digest": self.digest,
                "target_env": self.environment,
            },
            "context": {
                "metrics": self.evaluation,
                "promotion_id": str(self.promotion_id),
                "manifest_signature_id": self.manifest_signature_id,
                **({} if self.rollback is None else {"rollback": self.rollback}),
            },
            "artifactId": artifact_id,
            "environment": self.environment,
            "evaluation": self.evaluation,
        }
