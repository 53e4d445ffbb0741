"""The steps of a promotion, each idempotent on the promotion's status: request, verify, decide, sign, apply."""

from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from aiinfra_core import promoting, rolling_back
from aiinfra_core.approving import waiting
from aiinfra_core.domain.promotion import Decision, Promotion, PromotionRequest
from aiinfra_core.domain.rollout import RollbackRequest
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.settings import environment_named
from tasks.retries import retry_when_transient


@task(cache_policy=NO_CACHE)
def check_environments(names: tuple[str, ...]) -> list[str]:
    """Return the configured names of some environments; one that does not exist is an error, before anything is done."""
    settings = current_settings()
    return [environment_named(settings, name) for name in names]


@task(**retry_when_transient, cache_policy=NO_CACHE)
def request_promotion(request: PromotionRequest) -> UUID:
    """Record that somebody asks for a promotion; the same request gives the same promotion."""
    return promoting.request_promotion(current_settings(), request)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def request_rollback(request: RollbackRequest) -> UUID:
    """End the rollout that is open, or record that somebody asks to go back; a run asks once, however often it is tried."""
    own = request.request_id or f"rollback-run:{flow_run.get_id()}"
    return rolling_back.request_rollback(current_settings(), request.model_copy(update={"request_id": own}))


@task(**retry_when_transient, cache_policy=NO_CACHE)
def verify_artifact(promotion_id: UUID) -> Promotion:
    """Read the artifact's bytes and its signed registration again; anything but what was registered is a no."""
    return promoting.verify_artifact(current_settings(), promotion_id)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def decide(promotion_id: UUID) -> Decision | None:
    """Ask SentinelNet, or the local policy, once, and record the whole answer."""
    return promoting.decide(current_settings(), promotion_id)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def sign_manifest(promotion_id: UUID) -> Promotion:
    """Sign the manifest of an allowed promotion, once."""
    return promoting.sign_manifest(current_settings(), promotion_id)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def apply_promotion(promotion_id: UUID) -> Promotion:
    """Verify the manifest and make the artifact current; a promotion that lost the race is superseded."""
    return promoting.apply_promotion(current_settings(), promotion_id)


@task(**retry_when_transient, cache_policy=NO_CACHE)
def settle_waiting() -> list[Promotion]:
    """Carry on promotions that waited for people and whose time is over, were overtaken, or that nobody is missing for."""
    return waiting.go_on(current_settings())
