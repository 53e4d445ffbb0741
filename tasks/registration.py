"""The steps of a registration: what to register for a training, register it, keep how it scored, find it again."""

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE

from aiinfra_core import database, evaluating, registering
from aiinfra_core.domain.artifact import Artifact, Evaluation, RegistrationRequest
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.registry import artifacts, jobs
from tasks.retries import retry_when_transient


@task(**retry_when_transient, cache_policy=NO_CACHE)
def registration_of(job_id: UUID) -> RegistrationRequest:
    """Return the request that registers what a completed training made."""
    with database.transaction(current_settings()) as tx:
        return registering.registration_of(jobs.get(tx, job_id))


@task(**retry_when_transient, cache_policy=NO_CACHE)
def register_artifact(request: RegistrationRequest) -> Artifact:
    """Verify stored bytes and record them, signed, as the next version of a model; asked again, return that version."""
    return registering.register(current_settings(), request)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def record_measured(artifact_id: UUID) -> Evaluation | None:
    """Sign and keep what the artifact's own training measured, if it measured anything."""
    return evaluating.record_measured(current_settings(), artifact_id)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def find_artifact(reference: str) -> Artifact:
    """Return the artifact a person means by an id, `MODEL`, `MODEL:VERSION` or `MODEL@ENVIRONMENT`."""
    with database.transaction(current_settings()) as tx:
        return artifacts.find(tx, reference)
