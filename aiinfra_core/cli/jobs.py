"""`jobs show`."""

from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter

from aiinfra_core import database
from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.output import AsJson, say, say_fields, say_json, say_next, score
from aiinfra_core.cli.parts import running_parts
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.registry import jobs as registry

jobs = App(name="jobs")


@jobs.command(help_epilogue=examples("aiinfra jobs show 6f1c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11"))
def show(job: Annotated[UUID, Parameter(help="The job's id.")], /, *, as_json: AsJson = False) -> None:
    """Show what a training job was asked for and what came of it."""
    with database.transaction(running_parts()) as tx:
        found = registry.get(tx, job)
    return say_json(found) if as_json else say_job(found)


def say_job(job: TrainingJob) -> None:
    """Print a job, and what to type next."""
    spec = job.spec
    say(f"{spec.model}: {job.status}")
    say_fields(
        {
            "job": job.id,
            "code": spec.code_ref,
            "container": spec.container_digest,
            "seed": spec.seed,
            "datasets": ", ".join(f"{ref.name} ({ref.sha256[:12]})" for ref in spec.dataset_refs) or None,
            "score": score(job.metrics),
            "checksum": job.checksum,
            "artifact": job.artifact_uri,
            "log": job.log_uri,
            "error": job.error,
        }
    )
    if job.status is JobStatus.COMPLETED:
        say_next(f"aiinfra register {job.id}")
