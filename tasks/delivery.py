"""The step of a delivery: what each sink took, without its address."""

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from aiinfra_core.audit_log.delivering import delivery
from aiinfra_core.embedded.defaults import current_settings
from tasks.retries import retry_when_transient


@task(**retry_when_transient, cache_policy=NO_CACHE)
def deliver_history(at_once: bool) -> list[dict[str, Any]]:
    """Deliver to every sink what it has not been given yet; a sink that is down holds only itself."""
    done = delivery.deliver(current_settings(), at_once=at_once)
    return [{"sink": one.sink.name, "delivered": one.delivered, "set_aside": one.set_aside, "problem": one.problem} for one in done]
