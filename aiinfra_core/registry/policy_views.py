"""Rows as the rules of a policy see them: plain data, with the names that policies are written in."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind, JudgedEvaluation
from aiinfra_core.domain.evaluation import source_of
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.registry import judged_rows
from aiinfra_core.registry.judged_rows import Row
from aiinfra_core.rules import rollout_views


def artifact(artifact: Artifact) -> dict[str, Any]:
    """Return an artifact."""
    return {
        "id": str(artifact.id),
        "model": artifact.model,
        "version": artifact.version,
        "digest": artifact.checksum,
        "digestKind": artifact.digest_kind.value,
        "sizeBytes": artifact.size_bytes,
        "registeredBy": artifact.registered_by,
        "registeredAt": timestamp(artifact.created_at),
        "metadata": artifact.metadata,
    }


def overrides(row: Row | None) -> dict[str, Any] | None:
    """Return the rollout that is overridden, None where none is."""
    return None if row is None else rollout_views.overrides(str(row["id"]), row["reason"], timestamp(row["ended_at"]))


def recorded(row: Row, job: Row | None) -> dict[str, Any]:
    """Return an evaluation that is recorded; `job` trained what it is of."""
    return evaluation(
        kind=EvaluationKind(row["kind"]),
        metrics=canonical_json.loads(row["metrics"]),
        spec=None if row["spec"] is None else canonical_json.loads(row["spec"]),
        spec_digest=row["spec_digest"],
        training_datasets=canonical_json.loads(job["dataset_refs"]) if job else [],
        recorded_by=row["recorded_by"],
        recorded_at=row["created_at"],
    )


def evaluation(
    *,
    kind: EvaluationKind,
    metrics: Mapping[str, Any],
    spec: Mapping[str, Any] | None,
    spec_digest: str | None,
    training_datasets: Sequence[Mapping[str, Any]],
    recorded_by: str,
    recorded_at: datetime,
) -> dict[str, Any]:
    """Return an evaluation; without a spec, a measured one is of the training's own data."""
    of_training = training_datasets if kind is EvaluationKind.MEASURED else ()
    datasets = of_training if spec is None else spec.get("datasetRefs", ())
    return {
        "kind": kind.value,
        "source": source_of(kind, spec_digest).value,
        "metrics": dict(metrics),
        "datasets": [{"name": one["name"], "sha256": one["sha256"]} for one in datasets],
        "specDigest": spec_digest,
        "codeRef": None if spec is None else spec.get("codeRef"),
        "recordedBy": recorded_by,
        "recordedAt": timestamp(recorded_at),
    }


def provenance(job: Row | None) -> dict[str, Any] | None:
    """Return how an artifact was trained; where its signed provenance cannot be read, it is of no kind that a policy could ask for."""
    if job is None:
        return None
    try:
        kind = "trained" if judged_rows.declared_by(job) is None else "declared"
    except EvidenceBroken:
        kind = "unreadable"
    return {
        "kind": kind,
        "codeRef": job["code_ref"],
        "commit": job["code_ref"].rpartition("@")[2],
        "entryPoint": job["entry_point"],
        "containerDigest": job["container_digest"],
        "datasets": [{"name": one["name"], "sha256": one["sha256"]} for one in canonical_json.loads(job["dataset_refs"])],
        "hyperparams": canonical_json.loads(job["hyperparams"]),
        "seed": job["seed"],
        "trainedBy": job["requested_by"],
        "metrics": canonical_json.loads(job["metrics"]) if job["metrics"] else {},
    }


def current(row: Row) -> dict[str, Any]:
    """Return what is current in one environment."""
    return {
        "artifactId": str(row["artifact_id"]),
        "version": row["version"],
        "digest": row["checksum"],
        "sequence": row["sequence"],
        "promotedAt": timestamp(row["applied_at"]),
    }


def environments(standing: Mapping[str, Row], environments: Sequence[str]) -> dict[str, Any]:
    """Return what is current in each environment."""
    places: dict[str, Any] = dict.fromkeys(environments)
    return places | {name: {"artifactId": str(row["artifact_id"]), "version": row["version"]} for name, row in standing.items()}


def comparison(judged: JudgedEvaluation | Evaluation | None, own: Sequence[Row], theirs: Sequence[Row]) -> dict[str, Any] | None:
    """Return how both scored by one spec, which names its data: the one the promotion is judged on, else the newest both were put to."""
    by_spec = {row["spec_digest"]: row for row in reversed(theirs) if row["spec_digest"]}
    mine = sorted((row for row in own if row["spec_digest"] in by_spec), key=lambda row: judged is None or row["digest"] != judged.digest)
    if not mine:
        return None
    challenger = _numbers(canonical_json.loads(mine[0]["metrics"]))
    champion = _numbers(canonical_json.loads(by_spec[mine[0]["spec_digest"]]["metrics"]))
    spec = canonical_json.loads(mine[0]["spec"])
    return {
        "specDigest": mine[0]["spec_digest"],
        "datasets": [{"name": one["name"], "sha256": one["sha256"]} for one in spec.get("datasetRefs", ())],
        "challenger": challenger,
        "champion": champion,
        "difference": _numbers({name: value - champion[name] for name, value in challenger.items() if name in champion}),
    }


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def reproduction(row: Row | None) -> dict[str, Any] | None:
    """Return a reproduction."""
    if row is None:
        return None
    return {"outcome": row["outcome"], "reproducedBy": row["reproduced_by"], "finishedAt": timestamp(row["finished_at"])}


def scan(row: Row | None) -> dict[str, Any] | None:
    """Return a scan."""
    if row is None:
        return None
    formats = sorted({one["format"] for one in canonical_json.loads(row["findings"])})
    return {"verdict": row["verdict"], "scanner": row["scanner"], "formats": formats}


def approval(row: Row) -> dict[str, Any]:
    """Return an approval."""
    return {"approver": row["approver"], "roles": canonical_json.loads(row["roles"]), "means": row["means"]}
