"""The whole way of a model: train, register, evaluate, promote."""

from prefect import flow

from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from flows.evaluate import evaluate
from flows.outcomes import PipelineOutcome, ended
from flows.promote import promote
from flows.register import register
from flows.requests import EvaluationRequest, PipelineRequest, TrainingRequest
from flows.train import train
from tasks.promotion import check_environments
from tasks.registration import record_measured, registration_of


@flow(name="pipeline", flow_run_name="{request.spec.model} to {request.route}")
def pipeline(request: PipelineRequest) -> PipelineOutcome:
    """Train a model, register it, keep how it scored, and promote it from one environment to the next; the first no ends the way."""
    environments = check_environments(request.environments)
    trained = train(TrainingRequest(spec=request.spec, requested_by=request.requested_by))
    registered = register(registration_of(trained.training_job_id))
    record_measured(registered.artifact_id)
    name, promotions = f"{registered.model}:{registered.version}", []
    for environment in environments:
        asked = {"artifact": name, "requested_by": request.requested_by}
        if request.evaluation is not None:
            asked["judged_on"] = evaluate(EvaluationRequest(**asked, spec=request.evaluation, against=environment)).evaluation
        promotions.append(promote(PromotionRequest(**asked, environment=environment)))
        if promotions[-1].status is not PromotionStatus.APPLIED:
            break
    outcome = PipelineOutcome(training_job_id=trained.training_job_id, registered=registered, promotions=tuple(promotions))
    return ended(outcome)


if __name__ == "__main__":
    from flows.command_line import pipeline as options
    from flows.laptop import main

    main(pipeline, options)
