"""Promote a registered artifact to an environment."""

from prefect import flow

from aiinfra_core.domain.promotion import PromotionRequest
from flows.outcomes import PromotionOutcome, ended, promoted
from tasks.announcing import announce_promotion
from tasks.promotion import apply_promotion, decide, request_promotion, sign_manifest, verify_artifact
from tasks.publication import publish_history
from tasks.registration import find_artifact
from tasks.summaries import summarise_promotion


@flow(name="promote", flow_run_name="{request.artifact} to {request.environment}")
def promote(request: PromotionRequest) -> PromotionOutcome:
    """Move one registered artifact to an environment; a yes and a no are both recorded."""
    promotion_id = request_promotion(request)
    verify_artifact(promotion_id)
    decide(promotion_id)  # anything but a clear yes is a no
    sign_manifest(promotion_id)
    promotion = apply_promotion(promotion_id)
    artifact = find_artifact(str(promotion.artifact_id))
    summarise_promotion(promotion, artifact)
    announce_promotion(promotion, artifact)
    publish_history()
    return ended(promoted(promotion, artifact))


if __name__ == "__main__":
    from flows.command_line import promotion as options
    from flows.laptop import main

    main(promote, options)
