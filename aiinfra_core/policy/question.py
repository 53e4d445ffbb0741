"""What the gate is asked, and the exact body SentinelNet gets. Answering it lives in `local` and `sentinelnet`."""

import math
import re
from typing import Any
from uuid import UUID

from aiinfra_core.domain.artifact import EvaluationKind
from aiinfra_core.domain.record import Actor, JsonObject, Name, Record, RequestId, Sha256

ACTION = "model.promote"
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)


class Question(Record):
    """May this artifact become current in this environment? `evaluation` is what was recorded, of the kind that is named."""

    request_id: RequestId
    actor: Actor
    artifact_id: UUID
    model: Name
    version: int
    digest: Sha256
    environment: Name
    evaluation: JsonObject
    evaluation_kind: EvaluationKind
    promotion_id: UUID
    manifest_signature_id: str | None = None

    def metrics(self) -> dict[str, Any]:
        """Return the evaluation as a policy compares it: decimal strings of a measured one as numbers, all else as it was said.

        A measurement records its numbers as decimal strings; a string in a caller's claim is a string and no score.
        """
        if self.evaluation_kind is EvaluationKind.CLAIMED:
            return self.evaluation
        return {name: _number(value) for name, value in self.evaluation.items()}

    def body(self) -> dict[str, Any]:
        """Return the body of `POST /sentinelnet/check`."""
        metrics, artifact_id = self.metrics(), str(self.artifact_id)
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
                "metrics": metrics,
                "promotion_id": str(self.promotion_id),
                "manifest_signature_id": self.manifest_signature_id,
            },
            "artifactId": artifact_id,
            "environment": self.environment,
            "evaluation": metrics,
        }


def _number(value: Any) -> Any:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        return value
    number = float(value)
    return number if math.isfinite(number) else value
