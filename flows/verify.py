"""Verify what is recorded: the whole history and, when one is named, a model with its stored bytes."""

from prefect import flow
from prefect.runtime import flow_run

from flows.outcomes import VerificationOutcome, verified
from tasks.summaries import summarise_verification
from tasks.verification import verify_history, verify_model


def _what() -> str:
    return flow_run.parameters.get("artifact") or ("what is new" if flow_run.parameters.get("incremental") else "history")


@flow(name="verify", flow_run_name=_what)
def verify(artifact: str | None = None, incremental: bool = False) -> VerificationOutcome:
    """Check the audit log, every row and, when one is named, a model; a finding fails the run and names the place.

    Args:
        artifact: a model to check with its stored bytes: an artifact id, `MODEL`, `MODEL:VERSION` or `MODEL@ENVIRONMENT`.
        incremental: check only what the log has since its last verified checkpoint, and the rows that tells of.
    """
    history = verify_history(incremental)
    steps = verify_model(artifact, history) if artifact else []
    summarise_verification(history, steps)
    return verified(history, steps)


if __name__ == "__main__":
    from flows.command_line import verification as options
    from flows.laptop import main

    main(verify, options)
