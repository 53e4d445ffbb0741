"""Run a registered artifact's training again, on whichever worker takes it, and compare what comes out."""

from prefect import flow

from aiinfra_core.domain.reproduction import ReproductionRequest
from flows.outcomes import ReproductionOutcome, compared, named_after_outcome
from tasks.publication import publish_history
from tasks.registration import find_artifact
from tasks.reproduction import reproduce_training
from tasks.summaries import summarise_reproduction


@flow(name="reproduce", flow_run_name="{request.artifact}")
def reproduce(request: ReproductionRequest) -> ReproductionOutcome:
    """Train again from the recorded provenance and sign whether the same came out; a training that fails fails the run."""
    artifact = find_artifact(request.artifact)
    reproduction = reproduce_training(artifact.id, request)
    summarise_reproduction(reproduction, artifact)
    publish_history()
    return named_after_outcome(compared(reproduction, artifact))


if __name__ == "__main__":
    from flows.command_line import reproduction as options
    from flows.laptop import main

    main(reproduce, options)
