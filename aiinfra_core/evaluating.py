"""Evaluations: measured by a script that was run for it or by the training that made the artifact, or claimed by whoever asks to promote.

What the metrics have to be is the gate's business (`policy`).
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID, uuid4

from sqlalchemy import Connection

from aiinfra_core import artifact_store, canonical_json, checksums, database
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind, JudgedEvaluation
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import BadInput, EvaluationFailed, NotFound
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.keys import audit_signer, configured_signer
from aiinfra_core.registry import artifacts, evaluations, evidence, jobs, promotions, tombstones
from aiinfra_core.settings import Settings, environment_named
from aiinfra_core.training.measure import EvaluationRun, measure


def evaluate(
    settings: Settings, artifact_id: UUID, spec: EvaluationSpec, *, recorded_by: str, on_output: Callable[[str], None]
) -> Evaluation:
    """Measure an artifact as a spec says, sign what was measured and keep it; asked again, return what was measured then.

    Two never measure the same at the same time: the second waits and gets what the first measured. A failed evaluation leaves no record
    but its log in the artifact store; the same call runs it again.

    Args:
        settings: where code is run and bytes are kept.
        artifact_id: what is measured.
        spec: what to run, and on which data.
        recorded_by: who evaluates.
        on_output: called with each line the script prints.

    Raises:
        NotFound: there is no such artifact, or its bytes were removed.
        EvaluationFailed: the script failed, or measured nothing; says why and where its log is.
        BadInput, DigestMismatch: code, data or the artifact's bytes are not what was named.
        Unavailable: a required part could not be reached; the same call begins anew.
    """
    with database.advisory_lock(settings, int(_key(artifact_id, spec), 16)) as connection:
        artifact = artifacts.get(connection, artifact_id)
        evaluation = evaluations.by_spec(connection, artifact_id, spec.digest())
        if evaluation is None:
            tombstones.refuse_pruned(connection, artifact)
            audit_signer(settings)  # whoever may not sign the event of a change must not make the change
            metrics = _metrics(settings, artifact, spec, on_output)
            evaluation = _record(settings, artifact, judged(artifact, EvaluationKind.MEASURED, metrics, spec.digest()), recorded_by, spec)
    keep_up(settings)
    return evaluation


def evaluate_champion(
    settings: Settings, environment: str, model: str, spec: EvaluationSpec, *, recorded_by: str, on_output: Callable[[str], None]
) -> Evaluation | None:
    """Measure what is current for a model in an environment, unless it was by the same spec; None where nothing is current.

    Raises:
        EvaluationFailed, NotFound, BadInput, Unavailable: as `evaluate`.
    """
    with database.autocommit(settings) as connection:
        current = promotions.pointer(connection, environment_named(settings, environment), model)
    return None if current is None else evaluate(settings, current.artifact_id, spec, recorded_by=recorded_by, on_output=on_output)


def record_measured(settings: Settings, artifact_id: UUID) -> Evaluation | None:
    """Sign and keep the metrics that the artifact's own training measured; asked again, return the kept ones.

    What an executor that is not ours says its training measured is kept as that executor's claim. None where it was registered without a
    training job, or its training measured nothing: the gate will find no score.

    Raises:
        NotFound: there is no such artifact.
    """
    with database.transaction(settings) as tx:
        artifact = artifacts.get(tx, artifact_id)
        job = None if artifact.training_job_id is None else jobs.get(tx, artifact.training_job_id)
        if job is None or not job.metrics:
            return None
        declared_by = evidence.executor_of(tx, job)
    kind = EvaluationKind.MEASURED if declared_by is None else EvaluationKind.CLAIMED
    evaluation = _record(settings, artifact, judged(artifact, kind, job.metrics), declared_by or artifact.registered_by)
    keep_up(settings)
    return evaluation


def evaluation_to_judge(
    tx: Connection, artifact: Artifact, claimed: dict[str, Any] | None, judged_on: str | None = None
) -> JudgedEvaluation | Evaluation | None:
    """Return what a promotion will be judged on: the evaluation of that digest or the caller's claim, else the newest measured, else None.

    Raises:
        BadInput: both are given.
        NotFound: the artifact has no such evaluation.
    """
    if judged_on is not None:
        if claimed is not None:
            raise BadInput("A promotion is judged on scores that are claimed or on a recorded evaluation; name one of them.")
        return evaluations.by_digest(tx, artifact.id, judged_on) or _unknown(artifact, judged_on)
    if claimed is not None:
        return judged(artifact, EvaluationKind.CLAIMED, claimed)
    return evaluations.newest_measured(tx, artifact.id)


def record_judged(settings: Settings, promotion: Promotion, artifact: Artifact) -> Evaluation:
    """Sign and keep the evaluation a promotion was judged on.

    Raises:
        BadInput: it was judged on none.
    """
    if promotion.evaluation_kind is None:
        raise BadInput(f"Promotion {promotion.id} was judged on no evaluation.")
    evaluation = judged(artifact, promotion.evaluation_kind, promotion.evaluation)
    return _record(settings, artifact, evaluation, promotion.requested_by)


def judged(artifact: Artifact, kind: EvaluationKind, metrics: dict[str, Any], spec_digest: str | None = None) -> JudgedEvaluation:
    """Return an evaluation with its digest, which covers artifact, kind, metrics and the spec that was run, where one was."""
    identity = {"artifact": artifact.checksum, "artifactId": str(artifact.id), "kind": kind, "metrics": metrics}
    if spec_digest is not None:
        identity["specDigest"] = spec_digest
    digest = checksums.sha256_hex(canonical_json.dumps(identity))
    return JudgedEvaluation(kind=kind, metrics=metrics, digest=digest, spec_digest=spec_digest)


def _metrics(settings: Settings, artifact: Artifact, spec: EvaluationSpec, on_output: Callable[[str], None]) -> dict[str, float]:
    def lay_out(place: Path) -> None:
        store = artifact_store.location_of(settings, artifact.artifact_uri)
        artifact_store.fetch(store, artifact.artifact_uri, artifact.checksum, place)

    run = measure(
        spec,
        lay_out,
        folder=settings.home / "scratch" / f"evaluation-{_key(artifact.id, spec)}",
        cache=settings.home / "datasets",
        timeout_seconds=settings.training_timeout_seconds,
        on_output=on_output,
        s3_endpoint_url=settings.s3_endpoint_url,
    )
    return run.metrics or _failed(settings, artifact, run)


def _unknown(artifact: Artifact, digest: str) -> NoReturn:
    name = f"{artifact.model}:{artifact.version}"
    raise NotFound(f"{name} has no evaluation {digest}; those it has are shown by: aiinfra models show {name} --json")


def _failed(settings: Settings, artifact: Artifact, run: EvaluationRun) -> NoReturn:
    log = artifact_store.put_bytes(artifact_store.location(settings), run.log, "logs", ".log")
    raise EvaluationFailed(f"The evaluation of {artifact.model}:{artifact.version} failed: {run.error} Its log is {log}.")


# Of 60 bits: the advisory lock of an evaluation and the name of its scratch.
def _key(artifact_id: UUID, spec: EvaluationSpec) -> str:
    return checksums.sha256_hex(f"evaluate:{artifact_id}:{spec.digest()}".encode())[:15]


def _record(
    settings: Settings, artifact: Artifact, evaluation: JudgedEvaluation, recorded_by: str, spec: EvaluationSpec | None = None
) -> Evaluation:
    unsigned = Evaluation(
        id=uuid4(),
        artifact_id=artifact.id,
        recorded_by=recorded_by,
        created_at=datetime.now(UTC),
        spec=None if spec is None else spec.model_dump(mode="json", by_alias=True),
        **evaluation.model_dump(),
    )
    with database.autocommit(settings) as connection:
        if kept := evaluations.by_digest(connection, artifact.id, evaluation.digest):
            return kept
        datasets = evidence.datasets_of(connection, artifact, unsigned)
    statement = attest(claims.of_evaluation(artifact, unsigned, datasets), configured_signer(settings, Purpose.EVALUATION))
    with database.autocommit(settings) as connection:
        return evaluations.record(connection, artifact, unsigned, statement)
