"""One builder per claim about traffic: where it goes, and what somebody ordered about a rollout. Each returns the bytes to sign.

Their shapes are in `rollout_predicates`; what a reader of a routing checks is in `routing`.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.rollout import Action
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.evidence import predicates as shapes
from aiinfra_core.evidence.statement import Subject, signable, timestamp, write


@dataclass(frozen=True)
class Split:
    """How traffic is shared while a rollout is open: the challenger's part, of 10,000, by units that a salt spreads."""

    rollout_id: UUID
    step: int
    weight: int
    salt: str
    unit: Unit


def routing(
    *,
    environment: str,
    sequence: int,
    changes: int,
    champion: tuple[Artifact, str],
    challenger: tuple[Artifact, str] | None,
    split: Split | None,
    issued_at: datetime,
    expires_at: datetime,
) -> bytes:
    """State where the traffic of a model in an environment goes. Each arm is an artifact and the digest of its promotion manifest.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    artifact = champion[0]
    predicate = {
        "environment": environment,
        "model": artifact.model,
        "sequence": sequence,
        "changes": changes,
        "champion": _arm(*champion),
        "challenger": None if challenger is None else _arm(*challenger),
        "weight": split.weight if split else 0,
        "salt": split.salt if split else None,
        "unit": split.unit.value if split else None,
        "rolloutId": str(split.rollout_id) if split else None,
        "step": split.step if split else None,
        "issuedAt": timestamp(issued_at),
        "expiresAt": timestamp(expires_at),
    }
    return signable(write(Subject(artifact.model, artifact.digest_kind, artifact.checksum), shapes.ROUTING, predicate))


def order(
    *,
    rollout_id: UUID,
    model: str,
    environment: str,
    subject: Subject,
    manifest: str,
    action: Action,
    step: int,
    reason: str,
    ordered_by: str,
    ordered_at: datetime,
) -> bytes:
    """State what somebody ordered about a rollout at a step of it, from 0; `subject` and `manifest` are the challenger's.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    predicate = {
        "rolloutId": str(rollout_id),
        "model": model,
        "environment": environment,
        "manifest": manifest,
        "action": action.value,
        "step": step,
        "reasonDigest": sha256_hex(reason.encode()),
        "orderedBy": ordered_by,
        "orderedAt": timestamp(ordered_at),
    }
    return signable(write(subject, shapes.ROLLOUT_ORDER, predicate))


def _arm(artifact: Artifact, manifest: str) -> dict[str, object]:
    return {
        "artifactId": str(artifact.id),
        "version": artifact.version,
        "artifactUri": artifact.artifact_uri,
        "digestKind": artifact.digest_kind.value,
        "checksum": artifact.checksum,
        "manifest": manifest,
    }
