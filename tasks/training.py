"""The steps of a training: ask for it, run it."""

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE

from aiinfra_core import jobs
from aiinfra_core.domain.training import TrainingJob, TrainingSpec
from aiinfra_core.embedded.defaults import current_settings
from tasks.progress import show_training_output
from tasks.retries import retry_when_transient


@task(**retry_when_transient, cache_policy=NO_CACHE)
def request_training(spec: TrainingSpec, requested_by: str, request_id: str | None = None) -> UUID:
    """Queue a training; the same request gives the same job."""
    return jobs.request_training(current_settings(), spec, requested_by=requested_by, request_id=request_id)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def run_training(job_id: UUID) -> TrainingJob:
    """Run a training that has not ended; what it prints goes to the log of the run."""
    return jobs.run_training(current_settings(), job_id, on_output=show_training_output())
