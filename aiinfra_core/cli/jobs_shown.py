"""How training jobs are printed."""

from collections.abc import Sequence

from aiinfra_core.cli.output import say, say_fields, say_next, say_table, score
from aiinfra_core.domain.training import JobStatus
from aiinfra_core.wire.executing import SentJobDetails
from aiinfra_core.wire.records import SentJob


def say_job(job: SentJob) -> None:
    """Print a job, and what to type next."""
    say(f"{job.model}: {job.status}")
    say_fields(
        {
            "job": job.id,
            "run by": runs(job) if isinstance(job, SentJobDetails) else None,
            "code": job.code_ref,
            "container": job.container_digest,
            "seed": job.seed,
            "datasets": ", ".join(f"{ref.name} ({ref.sha256[:12]})" for ref in job.dataset_refs) or None,
            "score": score(job.metrics),
            "checksum": job.checksum,
            "artifact": job.artifact_uri,
            "log": job.log_uri,
            "error": job.error,
        }
    )
    if job.status == JobStatus.COMPLETED:
        say_next(f"aiinfra register {job.id}")
    elif job.status != JobStatus.FAILED:
        say_next(f"aiinfra jobs show {job.id}")


def say_jobs(found: Sequence[SentJobDetails], limit: int) -> None:
    """Print jobs under each other, and what to type next."""
    if not found:
        say("There is no such training job.")
        return say_next("aiinfra train --help")
    rows = [(job.model, job.status, runs(job), f"{job.created_at:%Y-%m-%d %H:%M}", job.id) for job in found]
    say_table(("MODEL", "STATUS", "RUN BY", "ASKED", "ID"), rows)
    last = found[-1].id
    return say_next(f"aiinfra jobs list --after {last}" if len(found) == limit else f"aiinfra jobs show {found[0].id}")


def runs(job: SentJobDetails) -> str | None:
    """Return who runs a job, None where nobody does under a lease."""
    return job.holder or (f"Prefect run {job.flow_run_id}" if job.flow_run_id else None)
