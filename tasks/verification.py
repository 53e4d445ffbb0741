"""The steps of a verification: the whole history, and one model with all that is recorded about it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from aiinfra_core import verifying
from aiinfra_core.audit_log.check import History
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.verifying import Step
from tasks.retries import retry_when_transient


@task(**retry_when_transient, cache_policy=NO_CACHE)
def verify_history() -> History:
    """Walk the whole audit log and every state row."""
    return verifying.verify_history(current_settings())


@task(**retry_when_transient, cache_policy=NO_CACHE)
def verify_model(reference: str) -> list[Step]:
    """Check one registered artifact, its stored bytes and every signed statement about it."""
    _, steps = verifying.verify_model(current_settings(), reference)
    return steps
