"""When a task is tried again: only where a required part could not be reached, since nothing else passes by itself."""

from typing import Any, TypedDict

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from aiinfra_core.errors import Unavailable


class _RetryOptions(TypedDict):
    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any


def is_transient(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Say whether a task failed for a reason that may be gone the next time."""
    return isinstance(state.data, Unavailable)


# After about 1, 2 and 4 seconds, each up to twice that, so that many runs do not come back in step.
retry_when_transient: _RetryOptions = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(1),
    "retry_jitter_factor": 1.0,
    "retry_condition_fn": is_transient,
}
