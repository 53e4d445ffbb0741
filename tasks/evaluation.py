"""The steps of an evaluation: measure an artifact, and what is current where it would go."""

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from aiinfra_core import evaluating
from aiinfra_core.domain.artifact import Evaluation
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.embedded.defaults import current_settings
from tasks.retries import retry_when_transient


@task(**retry_when_transient, cache_policy=NO_CACHE)
def evaluate_artifact(artifact_id: UUID, spec: EvaluationSpec, requested_by: str) -> Evaluation:
    """Measure an artifact as a spec says, once; what the script prints goes to the log of the run."""
    return evaluating.evaluate(current_settings(), artifact_id, spec, recorded_by=requested_by, on_output=get_run_logger().info)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def evaluate_champion(environment: str | None, model: str, spec: EvaluationSpec, requested_by: str) -> Evaluation | None:
    """Measure what is current in an environment by the same spec, once; None where nothing is, or no environment was named."""
    if environment is None:
        return None
    return evaluating.evaluate_champion(
        current_settings(), environment, model, spec, recorded_by=requested_by, on_output=get_run_logger().info
    )
