"""`jobs list` and `jobs show`."""

from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter

from aiinfra_core.cli.examples import examples
from aiinfra_core.cli.jobs_shown import say_job, say_jobs
from aiinfra_core.cli.output import AsJson, say_json
from aiinfra_core.cli.registry import Server, registry_at
from aiinfra_core.domain.training import JobStatus
from aiinfra_core.errors import BadInput

jobs = App(name="jobs")

_MOST = 500


@jobs.command(name="list", help_epilogue=examples("aiinfra jobs list", "aiinfra jobs list rain --status running --json"))
def list_jobs(
    model: Annotated[str | None, Parameter(help="Only jobs of this model.")] = None,
    /,
    *,
    status: Annotated[JobStatus | None, Parameter(help="Only jobs that stand so.")] = None,
    code: Annotated[str | None, Parameter(help="Only jobs of exactly this code, PATH@COMMIT or URL@COMMIT.")] = None,
    limit: Annotated[int, Parameter(help=f"How many, at most {_MOST}.")] = 50,
    after: Annotated[UUID | None, Parameter(help="The id of the last job seen; those asked for before it follow.")] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """List training jobs, newest first, and who runs them."""
    if not 1 <= limit <= _MOST:
        raise BadInput(f"--limit must be between 1 and {_MOST}.")
    with registry_at(server) as registry:
        found = registry.jobs(model, status, code, limit, after)
    return say_json(found) if as_json else say_jobs(found, limit)


@jobs.command(help_epilogue=examples("aiinfra jobs show 6f1c5f0e-2f5e-4f0a-9b59-0d9f0a3c2f11"))
def show(job: Annotated[UUID, Parameter(help="The job's id.")], /, *, server: Server = None, as_json: AsJson = False) -> None:
    """Show what a training job was asked for and what came of it."""
    with registry_at(server) as registry:
        found = registry.job(job)
    return say_json(found) if as_json else say_job(found)
