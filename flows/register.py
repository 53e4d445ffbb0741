"""Register stored bytes as the next version of a model."""

from prefect import flow

from aiinfra_core.domain.artifact import RegistrationRequest
from flows.outcomes import RegistrationOutcome, registered
from tasks.publication import publish_history
from tasks.registration import register_artifact
from tasks.summaries import summarise_registration


@flow(name="register", flow_run_name="{request.model} {request.checksum:.12}")
def register(request: RegistrationRequest) -> RegistrationOutcome:
    """Verify stored bytes and record them, signed, as the next version of a model; asked again, it is the same version."""
    artifact = register_artifact(request)
    summarise_registration(artifact)
    publish_history()
    return registered(artifact)


if __name__ == "__main__":
    from flows.command_line import registration as options
    from flows.laptop import main

    main(register, options)
