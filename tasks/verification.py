"""The steps of a verification: the whole history, and one model with all that is recorded about it."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from aiinfra_core import verifying
from aiinfra_core.audit_log.checking.check import History, Way
from aiinfra_core.audit_log.delivering import webhook
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.verifying import Step
from tasks.retries import retry_when_transient


@task(**retry_when_transient, cache_policy=NO_CACHE)
def verify_history(incremental: bool) -> History:
    """Walk the audit log and every state row, or what is new, and tell people where it does not hold.

    What was verified is kept for the next one on this machine.
    """
    settings = current_settings()
    history = verifying.verify_history(settings, Way(state=verifying.default_state(settings), incremental=incremental))
    webhook.audit_failed(settings, history)
    return history


@task(**retry_when_transient, cache_policy=NO_CACHE)
def verify_model(reference: str, history: History) -> list[Step]:
    """Check one registered artifact, its stored bytes and every signed statement about it."""
    _, steps = verifying.verify_model(current_settings(), reference, history)
    return steps
