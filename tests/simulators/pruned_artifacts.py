"""Small artifacts that are registered, promoted and pruned, and what is found wrong afterwards."""

from datetime import UTC, datetime
from pathlib import Path

from aiinfra_core import artifact_store, promoting, pruning, registering, verifying
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest, StoredArtifact
from aiinfra_core.domain.attestation import Attestation
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.domain.tombstone import RetentionRule, Tombstone
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings

NONE_KEPT = RetentionRule(older_than_days=0, keep_last=0)


def registered(settings: Settings, name: str, model: str = "rainfall", **more: object) -> Artifact:
    """Store and register a small file; the same name is the same place."""
    source = settings.home / name
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(name.encode())
    stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{name}")
    fields = {"model": model, "artifact_uri": stored.uri, "checksum": stored.checksum, "registered_by": "rita"}
    return registering.register(settings, RegistrationRequest(**{**fields, **more}))


def promoted(settings: Settings, artifact: Artifact, environment: str = "prod", quality: float = 0.9) -> Promotion:
    asked = PromotionRequest(artifact=str(artifact.id), environment=environment, evaluation={"quality": quality}, requested_by="paul")
    return promoting.promote(settings, asked)


def path_of(artifact: Artifact) -> Path:
    return Path(artifact.artifact_uri.removeprefix("file://"))


def pruned(settings: Settings, rule: RetentionRule = NONE_KEPT, model: str | None = None) -> list[str]:
    """Prune, and return what was removed as MODEL:VERSION."""
    done = pruning.prune(settings, rule, pruning.plan(settings, rule, model), pruned_by="olga", reason=None)
    return [f"{one.model}:{one.version}" for it in done if it.removed for one in it.together.artifacts]


def findings(settings: Settings) -> list[str]:
    return [f"{finding.place}: {finding.problem}" for finding in verifying.verify_history(settings).findings]


def request_of(stored: StoredArtifact, model: str = "rainfall", **more: str) -> RegistrationRequest:
    return RegistrationRequest(model=model, artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita", **more)


def signed_tombstone(settings: Settings, artifact: Artifact) -> tuple[Artifact, Tombstone, Attestation]:
    tombstone = Tombstone(
        artifact_id=artifact.id, reason="r", rule=NONE_KEPT, attestation=None, pruned_by="olga", created_at=datetime.now(UTC)
    )
    return artifact, tombstone, attest(claims.of_tombstone(tombstone, artifact), audit_signer(settings))


def stored_of(artifact: Artifact) -> StoredArtifact:
    said = artifact.model_dump(include={"digest_kind", "checksum", "size_bytes"})
    return StoredArtifact(uri=artifact.artifact_uri, **said)
