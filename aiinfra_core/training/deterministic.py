"""The `deterministic` executor: an artifact derived from the declared inputs alone, without running or fetching anything.

Neither the job's id nor the time goes in, so the same spec always gives the same bytes.
"""

from aiinfra_core import canonical_json, checksums
from aiinfra_core.domain.training import TrainingSpec


def artifact(spec: TrainingSpec) -> bytes:
    """Return the artifact of a spec: canonical JSON naming every declared input, big ones by their SHA-256."""
    return canonical_json.dumps(
        {
            "kind": "deterministic",
            "model": spec.model,
            "codeRef": spec.code_ref,
            "containerDigest": spec.container_digest,
            "datasets": {ref.name: ref.sha256 for ref in spec.dataset_refs},
            "hyperparamsSha256": checksums.sha256_hex(canonical_json.dumps(spec.hyperparams)),
            "seed": spec.seed,
            "specSha256": spec.digest(),
        }
    )
