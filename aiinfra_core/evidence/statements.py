"""One builder per claim: training, registration, evaluation, promotion. Each returns the payload bytes to sign.

Claims about these (reproduction, approval, export) are in `confirmations`. The frame around a claim and reading one live in `statement`,
the shapes of the claims in `predicates`, signing in `dsse`. Fractional numbers and numbers that may be large are decimal strings, times
are UTC with microseconds and a `Z`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import EvaluationKind
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.evidence import predicates as shapes
from aiinfra_core.evidence.dsse import fits
from aiinfra_core.evidence.statement import Subject, signable, timestamp, write

SLSA_VERSION = "1.0"
MAX_LISTED_DATASETS = 8
_MAX_LISTED_METRICS_BYTES = 1024


def training(
    *,
    job_id: UUID,
    spec: TrainingSpec,
    subject: Subject,
    training_record_sha256: str,
    started_at: datetime,
    finished_at: datetime,
    declared_by: str | None = None,
) -> bytes:
    """State how an artifact was trained: SLSA provenance v1.

    More than `MAX_LISTED_DATASETS` datasets, or what does not fit, stands only in `training.json`, named by its digest. With `declared_by`
    it was run elsewhere, and what is said of the run is what they declared.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    record = {"name": "training.json", "digest": {"sha256": training_record_sha256}}
    datasets = [{"name": ref.name, "uri": ref.uri, "digest": {"sha256": ref.sha256}} for ref in spec.dataset_refs]
    run = _run_details(job_id, _builder(spec, declared_by), started_at, finished_at)
    whole, short = (
        write(subject, shapes.TRAINING, {"buildDefinition": _build_definition(spec, dependencies), "runDetails": run})
        for dependencies in ([_code(spec), *datasets, record], [{"name": "code", "digest": _commit(spec)}, record])
    )
    return signable(whole if len(datasets) <= MAX_LISTED_DATASETS and fits(whole) else short)


def registration(
    *,
    artifact_id: UUID,
    model: str,
    subject: Subject,
    artifact_uri: str,
    metadata: Mapping[str, Any],
    registered_by: str,
    registered_at: datetime,
    training_job_id: UUID | None = None,
    training_attestation: str | None = None,
    manifest_signature_id: str | None = None,
) -> bytes:
    """State that bytes were registered under a model's name; without a training job they are labelled as without provenance.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    predicate = {
        "artifactId": str(artifact_id),
        "model": model,
        "artifactUri": artifact_uri,
        "trainingJobId": str(training_job_id) if training_job_id else None,
        "provenance": "recorded" if training_job_id else "none",
        "trainingAttestation": training_attestation,
        "metadataDigest": _digest_of(dict(metadata)),
        "manifestSignatureId": manifest_signature_id,
        "registeredBy": registered_by,
        "registeredAt": timestamp(registered_at),
    }
    return signable(write(subject, shapes.REGISTRATION, predicate))


def evaluation(
    *,
    artifact_id: UUID,
    model: str,
    subject: Subject,
    kind: EvaluationKind,
    metrics: Mapping[str, Any],
    evaluation_digest: str,
    recorded_by: str,
    evaluated_at: datetime,
    datasets: Mapping[str, str] | None = None,
    spec_digest: str | None = None,
) -> bytes:
    """State how an artifact scored.

    Args:
        artifact_id: the artifact that was evaluated.
        model: its model's name.
        subject: its bytes.
        kind: measured by the pipeline, or claimed by a caller.
        metrics: name -> value; numbers are written as decimal strings, other values that are not text as their JSON.
        evaluation_digest: hex SHA-256 of the evaluation as recorded; metrics over 1 KiB are in the statement only by it.
        recorded_by: who recorded it.
        evaluated_at: when.
        datasets: name -> hex SHA-256 of what it was measured on; more than `MAX_LISTED_DATASETS` are left out.
        spec_digest: hex SHA-256 of what was run to measure it; None where nothing was but the training itself, or it is claimed.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    listed = [{"name": name, "sha256": sha256} for name, sha256 in sorted((datasets or {}).items())]
    predicate = {
        "artifactId": str(artifact_id),
        "model": model,
        "kind": kind.value,
        "metrics": _listed_metrics(metrics),
        "datasets": listed if len(listed) <= MAX_LISTED_DATASETS else None,
        "evaluationDigest": evaluation_digest,
        **({"specDigest": spec_digest} if spec_digest else {}),
        "recordedBy": recorded_by,
        "evaluatedAt": timestamp(evaluated_at),
    }
    return signable(write(subject, shapes.EVALUATION, predicate))


def promotion(
    *,
    promotion_id: UUID,
    model: str,
    version: int,
    environment: str,
    subject: Subject,
    sequence: int,
    follows: str | None,
    requested_by: str,
    policy_uri: str,
    policy_digest: str | None,
    input_attestations: Sequence[str],
    verified_at: datetime,
    approvers: Sequence[str] = (),
    replaces: UUID | None = None,
    approvals_required: Mapping[str, int] | None = None,
    rollout_digest: str | None = None,
    overrides: UUID | None = None,
) -> bytes:
    """State that an artifact may become current in an environment: SLSA verification summary v1, the promotion manifest.

    Args:
        promotion_id: the promotion.
        model: the model's name.
        version: its version, from 1.
        environment: where it becomes current.
        subject: its bytes.
        sequence: the pointer's sequence this manifest is signed for, from 1.
        follows: digest of the promotion manifest that was current before, None for the first.
        requested_by: who asked.
        policy_uri: the policy that said yes.
        policy_digest: hex SHA-256 of that policy, None where the gate does not tell.
        input_attestations: digests of the statements that were looked at.
        verified_at: when the gate said yes.
        approvers: who agreed.
        replaces: the promotion this goes back from, where it is a rollback.
        approvals_required: role -> how many owners have to agree to this statement before it may be applied; None for nobody.
        rollout_digest: hex SHA-256 of the spec by which it has to earn its traffic; None where it has all of it at once.
        overrides: the rollout that had sent the same bytes back; None where none had.

    Raises:
        BadInput: the statement would be too long to sign, or a value is not what it must be.
    """
    predicate = {
        "verifier": {"id": shapes.VERIFIER},
        "timeVerified": timestamp(verified_at),
        "resourceUri": f"mlmodel://{model}/{version}?env={environment}",
        "policy": {"uri": policy_uri, **({"digest": {"sha256": policy_digest}} if policy_digest else {})},
        "inputAttestations": [{"uri": f"urn:ai-infra:statement:sha256:{it}", "digest": {"sha256": it}} for it in input_attestations],
        "verificationResult": "PASSED",
        "verifiedLevels": [shapes.PROMOTED_LEVEL],
        "slsaVersion": SLSA_VERSION,
        shapes.PROMOTION_EXTENSION: {
            "promotionId": str(promotion_id),
            "environment": environment,
            "sequence": sequence,
            "follows": follows,
            "requestedBy": requested_by,
            "approvers": list(approvers),
            "rollback": replaces is not None,
            **({"approvalsRequired": dict(approvals_required)} if approvals_required else {}),
            **({"rolloutDigest": rollout_digest} if rollout_digest else {}),
            **({"overrides": str(overrides)} if overrides else {}),
            **({"replaces": str(replaces)} if replaces else {}),
        },
    }
    return signable(write(subject, shapes.PROMOTION, predicate))


def _build_definition(spec: TrainingSpec, dependencies: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "buildType": shapes.BUILD_TYPE,
        "externalParameters": {
            "model": spec.model,
            "codeRef": spec.code_ref,
            "entryPoint": spec.entry_point,
            "containerDigest": spec.container_digest,
            "containerDigestSource": "declared",
            "seed": str(spec.seed),
            "hyperparamsDigest": {"sha256": _digest_of(spec.hyperparams)},
        },
        "resolvedDependencies": dependencies,
    }


def _builder(spec: TrainingSpec, declared_by: str | None) -> dict[str, str]:
    if declared_by is not None:
        return {"id": f"{shapes.EXECUTOR}external", shapes.DECLARED_BY: declared_by}
    return {"id": f"{shapes.EXECUTOR}{'process' if spec.entry_point else 'deterministic'}"}


def _run_details(job_id: UUID, builder: dict[str, str], started_at: datetime, finished_at: datetime) -> dict[str, Any]:
    return {
        "builder": builder,
        "metadata": {"invocationId": str(job_id), "startedOn": timestamp(started_at), "finishedOn": timestamp(finished_at)},
    }


def _code(spec: TrainingSpec) -> dict[str, Any]:
    location = {"uri": f"git+{spec.code_ref}"} if "://" in spec.code_ref else {}
    return {"name": "code", **location, "digest": _commit(spec)}


def _commit(spec: TrainingSpec) -> dict[str, str]:
    return {"gitCommit": spec.code_ref.rpartition("@")[2]}


def _listed_metrics(metrics: Mapping[str, Any]) -> dict[str, str] | None:
    texts = {name: value if isinstance(value, str) else canonical_json.dumps(value).decode() for name, value in metrics.items()}
    return texts if len(canonical_json.dumps(texts)) <= _MAX_LISTED_METRICS_BYTES else None


def _digest_of(value: Any) -> str:
    return sha256_hex(canonical_json.dumps(value))
