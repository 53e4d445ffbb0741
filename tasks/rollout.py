"""The steps of a round of looks: what is due is looked at, which may be killed anywhere and done again; and when the next one is due."""

from datetime import datetime

from prefect import task
from prefect.cache_policies import NO_CACHE

from aiinfra_core import rolling_out
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.rolling_out import Looked
from tasks.retries import retry_when_transient


@task(**retry_when_transient, cache_policy=NO_CACHE)
def look_at_rollouts() -> list[Looked]:
    """Look at every open rollout that is due, and do what the look says."""
    return rolling_out.look_round(current_settings())


@task(**retry_when_transient, cache_policy=NO_CACHE)
def next_look() -> datetime | None:
    """Say when an open rollout is due next."""
    return rolling_out.next_due(current_settings())
