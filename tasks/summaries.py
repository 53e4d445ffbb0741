"""What a run shows in the Prefect UI: a summary in Markdown, a table of metrics, a link to the stored bytes.

Postgres is the truth; these are for people to read, and written again by every run.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect import get_client, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from aiinfra_core.audit_log.checking.check import History
from aiinfra_core.domain.artifact import Artifact, Evaluation
from aiinfra_core.domain.promotion import Promotion, PromotionStatus, awaited
from aiinfra_core.domain.reproduction import Reproduction
from aiinfra_core.domain.rollout_spec import WHOLE
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.rolling_out import Looked
from aiinfra_core.verifying import Step


@task(cache_policy=NO_CACHE)
def summarise_training(job: TrainingJob) -> None:
    """Show how a training ended, how it scored and where its bytes are."""
    facts = {
        "status": job.status,
        "error": job.error,
        "digest": job.checksum,
        "code": job.spec.code_ref,
        "seed": job.spec.seed,
        "training job": job.id,
        "log": job.log_uri,
    }
    _summary(f"{job.spec.model}-training", f"Training of {job.spec.model}", facts)
    _metrics(f"{job.spec.model}-metrics", f"What the training of {job.spec.model} measured", job.metrics or {})
    if job.artifact_uri:
        _link(f"{job.spec.model}-artifact", job.artifact_uri)


@task(cache_policy=NO_CACHE)
def summarise_registration(artifact: Artifact) -> None:
    """Show what was registered, who signed it and how to verify it."""
    facts = {
        "digest": artifact.checksum,
        "size": f"{artifact.size_bytes} bytes",
        "signer": artifact.signer_id,
        "registered by": artifact.registered_by,
        "training job": artifact.training_job_id or "none: trained elsewhere",
        "artifact": artifact.id,
    }
    _summary(f"{artifact.model}-registration", f"{_name(artifact)} registered", facts, verify=_name(artifact))
    _link(f"{artifact.model}-artifact", artifact.artifact_uri)
    _rename_run(_name(artifact))


@task(cache_policy=NO_CACHE)
def summarise_evaluation(artifact: Artifact, evaluation: Evaluation, champion: Evaluation | None) -> None:
    """Show what was measured, by what, and how what is current scores by the same."""
    spec = evaluation.spec or {}
    facts = {
        "measured by": f"{spec.get('entryPoint')} of {spec.get('codeRef')}",
        "on": ", ".join(f"{ref['name']} (sha256 {ref['sha256'][:12]})" for ref in spec.get("datasetRefs", ())),
        "spec": evaluation.spec_digest,
        "recorded by": evaluation.recorded_by,
        "evaluation": evaluation.digest,
    }
    _summary(f"{artifact.model}-evaluation", f"{_name(artifact)} measured", facts, verify=_name(artifact))
    current = {f"{name} of what is current": value for name, value in champion.metrics.items()} if champion else {}
    _metrics(f"{artifact.model}-evaluation-metrics", "What was measured", {**evaluation.metrics, **current})


@task(cache_policy=NO_CACHE)
def summarise_reproduction(reproduction: Reproduction, artifact: Artifact) -> None:
    """Show what came out, which files differ and why, as far as it was seen."""
    report = reproduction.report
    facts = {
        "outcome": reproduction.outcome.replace("_", " "),
        "error": report["error"],
        "digest": artifact.checksum,
        "reproduced digest": reproduction.reproduced_checksum,
        "trained by": report["trainedBy"],
        "reproduced by": reproduction.reproduced_by,
        "log": report["logUri"],
        "reproduction": reproduction.id,
    }
    _summary(f"{artifact.model}-reproduction", f"{_name(artifact)} reproduced", facts, verify=_name(artifact))
    if report["causes"]:
        rows = [{"cause": one["kind"], "certainty": one["certainty"], "says": one["says"]} for one in report["causes"]]
        create_table_artifact(rows, key=_key(f"{artifact.model}-causes"), description="Why other bytes came out")


@task(cache_policy=NO_CACHE)
def summarise_promotion(promotion: Promotion, artifact: Artifact) -> None:
    """Show how a promotion ended, what the gate said and how to verify it."""
    decision = promotion.decision
    facts = {
        "status": promotion.status,
        "reason": promotion.reason,
        "decision": f"{'yes' if decision.allowed else 'no'}: {decision.reason}" if decision else "the gate was not asked",
        "decided by": f"{decision.source} {decision.policy_id or ''}".strip() if decision else None,
        "digest": artifact.checksum,
        "signer": promotion.signer_id,
        "manifest": promotion.manifest,
        "requested by": promotion.requested_by,
        "promotion": promotion.id,
    }
    key = f"{promotion.model}-to-{promotion.environment}"
    if promotion.status is PromotionStatus.PENDING_APPROVAL:
        facts |= {"needs": awaited(promotion)}
        _how_to_approve(key, promotion, artifact)
    _summary(key, f"{_name(artifact)} to {promotion.environment}", facts, verify=_name(artifact))
    _metrics(f"{key}-metrics", f"What was judged ({promotion.evaluation_kind or 'no evaluation'})", promotion.evaluation)
    _link(f"{promotion.model}-artifact", artifact.artifact_uri)


@task(cache_policy=NO_CACHE)
def summarise_verification(history: History, steps: Sequence[Step]) -> None:
    """Show what was checked and what was found."""
    facts = {
        "events": history.events,
        "checked from": history.since,
        "checkpoints": history.checkpoints,
        "waiting to be chained": history.waiting,
        "findings in the history": history.broken,
        "first finding at": history.findings[0].place if history.findings else None,
        "notes": "; ".join(history.notes) or None,
    }
    _summary("verification", "Verification", facts)
    for finding in history.findings:
        get_run_logger().error("The history does not verify at %s: %s", finding.place, finding.problem)
    checks = [{"check": step.name, "passed": step.passed, "detail": step.detail} for step in steps]
    findings = [{"check": finding.place, "passed": False, "detail": finding.problem} for finding in history.findings]
    if rows := checks + findings:
        create_table_artifact(rows, key="verification-checks", description="What was checked")


@task(cache_policy=NO_CACHE)
def summarise_looks(looked: Sequence[Looked]) -> None:
    """Show what each look at a rollout said, or why there was none."""
    rows = [
        {
            "rollout": f"{one.rollout.model} in {one.rollout.environment}",
            "status": one.rollout.status,
            "challenger's traffic": f"{100 * one.rollout.weight / WHOLE:g} %",
            "verdict": one.look.verdict if one.look else "none",
            "reason": one.look.reason if one.look else one.problem or "somebody else looked",
        }
        for one in looked
    ]
    if rows:
        create_table_artifact(rows, key="rollouts", description="What the rollouts that were looked at look like")


def _how_to_approve(key: str, promotion: Promotion, artifact: Artifact) -> None:
    """Link the page for whoever has to agree, where people reach a service, and give the command."""
    public_url = (current_settings().public_url or "").rstrip("/")
    command = f"aiinfra approve {promotion.id} --manifest {promotion.manifest}" + (f" --server {public_url}" if public_url else "")
    page = f"{public_url}/ai-infra/promotions/{promotion.id}/page"
    shown = f"Look at it first: [{page}]({page})" if public_url else f"Look at it first:\n\n    aiinfra approve {promotion.id}"
    title = f"{_name(artifact)} waits for approval for {promotion.environment}"
    text = (
        f"# {title}\n\nIt needs {awaited(promotion)}; not {promotion.requested_by}, who asked.\n\n{shown}\n\nAgree to it:\n\n    {command}"
    )
    create_markdown_artifact(text, key=_key(f"{key}-approval"), description=title)
    if public_url:
        create_link_artifact(page, link_text="The page for approvers", key=_key(f"{key}-approval-page"), description=title)


def _summary(key: str, title: str, facts: Mapping[str, Any], *, verify: str | None = None) -> None:
    lines = [f"# {title}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in facts.items() if value is not None]
    if verify:
        lines += ["", "Verify it:", "", f"    aiinfra verify {verify}"]
    create_markdown_artifact("\n".join(lines), key=_key(key), description=title)


def _metrics(key: str, description: str, metrics: Mapping[str, Any]) -> None:
    if metrics:
        rows = [{"metric": name, "value": value if isinstance(value, (int, float)) else str(value)} for name, value in metrics.items()]
        create_table_artifact(rows, key=_key(key), description=description)


def _link(key: str, uri: str) -> None:
    create_link_artifact(uri, link_text=uri, key=_key(key), description="The stored artifact")


def _rename_run(name: str) -> None:
    """Name the run after what only its end tells."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_name(UUID(flow_run.get_id()), name)


def _name(artifact: Artifact) -> str:
    return f"{artifact.model}:{artifact.version}"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _key(name: str) -> str:
    """Return a name Prefect takes as an artifact's key: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
