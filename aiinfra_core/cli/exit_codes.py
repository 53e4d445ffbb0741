"""Which outcome ends in which exit code. `docs/cli.md` tells them to people; other rooms do not know them."""

from enum import IntEnum

from aiinfra_core.errors import (
    AiInfraError,
    BadInput,
    EvaluationFailed,
    EvidenceBroken,
    Misconfigured,
    NotAllowed,
    Refused,
    TooManyRequests,
    TrainingFailed,
    Unavailable,
)


class ExitCode(IntEnum):
    """What the shell is told; a promotion that waits for people is `OK`."""

    OK = 0
    UNEXPECTED = 1
    BAD_INPUT = 2
    REFUSED = 3
    UNAVAILABLE = 4
    EVIDENCE_BROKEN = 5
    MISCONFIGURED = 6
    TRAINING_FAILED = 7
    NOT_ALLOWED = 8
    INTERRUPTED = 130
    NOBODY_READS = 141


_OF_ERRORS: dict[type[AiInfraError], ExitCode] = {
    BadInput: ExitCode.BAD_INPUT,
    Refused: ExitCode.REFUSED,
    TrainingFailed: ExitCode.TRAINING_FAILED,
    EvaluationFailed: ExitCode.TRAINING_FAILED,
    Unavailable: ExitCode.UNAVAILABLE,
    TooManyRequests: ExitCode.UNAVAILABLE,
    NotAllowed: ExitCode.NOT_ALLOWED,
    EvidenceBroken: ExitCode.EVIDENCE_BROKEN,
    Misconfigured: ExitCode.MISCONFIGURED,
}


def of_error(error: AiInfraError) -> ExitCode:
    """Return the exit code of an error of the product."""
    return next((code for kind, code in _OF_ERRORS.items() if isinstance(error, kind)), ExitCode.UNEXPECTED)
