"""The last step of a flow that wrote: the history as it now stands, published outside the database."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from aiinfra_core.audit_log import keeping_up
from aiinfra_core.embedded.defaults import current_settings


@task(cache_policy=NO_CACHE)
def publish_history() -> None:
    """Chain what waits and publish a checkpoint; what cannot be reached now is left for the next run, broken evidence is an error."""
    keeping_up.publish(current_settings())
