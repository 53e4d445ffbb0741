"""Go back to the version that was current before."""

from prefect import flow

from aiinfra_core.domain.rollout import RollbackRequest
from flows.outcomes import RollbackOutcome, ended, went_back
from tasks.announcing import announce_promotion
from tasks.promotion import apply_promotion, decide, request_rollback, sign_manifest, verify_artifact
from tasks.publication import publish_history
from tasks.registration import find_artifact
from tasks.summaries import summarise_promotion


@flow(name="rollback", flow_run_name="{request.model} back in {request.environment}")
def rollback(request: RollbackRequest) -> RollbackOutcome:
    """Go back, through the same steps as a promotion; an open rollout is ended, and the champion has all traffic again."""
    promotion_id = request_rollback(request)
    verify_artifact(promotion_id)
    decide(promotion_id)  # a policy may ask for people, or say no
    sign_manifest(promotion_id)
    promotion = apply_promotion(promotion_id)
    artifact = find_artifact(str(promotion.artifact_id))
    summarise_promotion(promotion, artifact)
    announce_promotion(promotion, artifact)
    publish_history()
    return ended(went_back(promotion, artifact))


if __name__ == "__main__":
    from flows.command_line import going_back as options
    from flows.laptop import main

    main(rollback, options)
