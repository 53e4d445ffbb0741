"""The step of a reproduction: run the training again, compare, sign."""

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from aiinfra_core import reproducing
from aiinfra_core.domain.reproduction import Reproduction, ReproductionRequest
from aiinfra_core.embedded.defaults import current_settings
from tasks.retries import retry_when_transient


@task(**retry_when_transient, cache_policy=NO_CACHE)
def reproduce_training(artifact_id: UUID, request: ReproductionRequest) -> Reproduction:
    """Run an artifact's training again on this worker; one run of the flow is one reproduction, however often it is tried."""
    named = {"artifact": str(artifact_id), "request_id": request.request_id or f"reproduce:{flow_run.get_id()}"}
    return reproducing.reproduce(current_settings(), request.model_copy(update=named), on_output=get_run_logger().info)
