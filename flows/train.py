"""Train a model: a recorded job, run once, its artifact stored and its provenance signed."""

from prefect import flow

from flows.outcomes import TrainingOutcome, trained
from flows.requests import TrainingRequest
from tasks.publication import publish_history
from tasks.summaries import summarise_training
from tasks.training import request_training, run_training


@flow(name="train", flow_run_name="{request.spec.model}")
def train(request: TrainingRequest) -> TrainingOutcome:
    """Train a model and store what it made; the same spec is trained once. A failed training fails the run with its reason."""
    job_id = request_training(request.spec, request.requested_by, request.request_id)
    job = run_training(job_id)
    summarise_training(job)
    publish_history()
    return trained(job)


if __name__ == "__main__":
    from flows.command_line import training as options
    from flows.laptop import main

    main(train, options)
