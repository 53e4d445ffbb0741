"""Measure a registered artifact with a script of its own, and what it may replace by the same one."""

from prefect import flow

from flows.outcomes import EvaluationOutcome, evaluated
from flows.requests import EvaluationRequest
from tasks.evaluation import evaluate_artifact, evaluate_champion
from tasks.publication import publish_history
from tasks.registration import find_artifact
from tasks.summaries import summarise_evaluation


@flow(name="evaluate", flow_run_name="{request.what}")
def evaluate(request: EvaluationRequest) -> EvaluationOutcome:
    """Run an evaluation against an artifact and keep, signed, what it measured; the same one is run once."""
    artifact = find_artifact(request.artifact)
    evaluation = evaluate_artifact(artifact.id, request.spec, request.requested_by)
    champion = evaluate_champion(request.against, artifact.model, request.spec, request.requested_by)
    summarise_evaluation(artifact, evaluation, champion)
    publish_history()
    return evaluated(artifact, evaluation, champion)


if __name__ == "__main__":
    from flows.command_line import evaluation as options
    from flows.laptop import main

    main(evaluate, options)
