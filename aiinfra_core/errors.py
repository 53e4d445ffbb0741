"""The whole exception tree, grouped by what the caller should do.

    AiInfraError
    ├── BadInput            change the request; asking again the same way cannot work
    │   ├── NotFound            name something that exists
    │   │   └── ArtifactMissing     nothing is stored where the request says
    │   ├── DigestMismatch      the bytes are not the ones that were named
    │   ├── TooLarge            send less
    │   ├── TooSlow             send it faster
    │   ├── WrongMediaType      send JSON, and say so
    │   └── Conflict            the same key or place already belongs to something else
    │       ├── RequestIdReused     choose a new request id for another request
    │       ├── InFlight            the same request is being carried out; ask again in a moment
    │       └── Outdated            what is current changed; look at it and ask again
    ├── NotAllowed          come as somebody who may
    │   ├── Unauthenticated     say who you are, in a way that can be checked
    │   └── Forbidden           somebody else has to do it, or give you the role
    ├── TooManyRequests     wait, then ask again
    ├── Refused             the answer is no, and it is recorded: read the reason
    ├── TrainingFailed      the training ran and failed, and that is recorded: mend it and ask under a new request id
    ├── EvaluationFailed    the evaluation ran and measured nothing, and nothing but its log is kept: mend it and ask again
    ├── Unavailable         a required part could not be reached; the same call may work later (`part` names it)
    ├── EvidenceBroken      something recorded does not verify; find out who changed it (`place` names it)
    └── Misconfigured       the operator has a setting to mend (the message names it)

A message is one sentence with the way out and never holds a secret. Exit codes and HTTP status are given to these
classes in `cli` and `http_api` only.
"""


class AiInfraError(Exception):
    """Base of every error this product raises on purpose."""


class BadInput(AiInfraError):
    """The request cannot be carried out as it was written."""


class NotFound(BadInput):
    """The thing that was named does not exist."""


class DigestMismatch(BadInput):
    """Bytes were read whose digest is not the one that was named."""


class ArtifactMissing(NotFound):
    """Nothing is stored where a request says an artifact is."""


class TooLarge(BadInput):
    """More was sent than is taken."""


class TooSlow(BadInput):
    """What was announced did not arrive in time."""


class WrongMediaType(BadInput):
    """The body is not of the kind that is read here."""


class Conflict(BadInput):
    """The same key or place already belongs to something else."""


class RequestIdReused(Conflict):
    """The request id was used before, for another request."""


class InFlight(Conflict):
    """The same request is being carried out at this moment."""


class Outdated(Conflict):
    """The caller saw a state that is no longer current."""


class NotAllowed(AiInfraError):
    """The caller may not do this."""


class Unauthenticated(NotAllowed):
    """Nobody, or nobody who can be believed, asks."""


class Forbidden(NotAllowed):
    """The caller is known and has no role that allows this."""


class TooManyRequests(AiInfraError):
    """The caller asks faster than is allowed; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(AiInfraError):
    """A policy, a person or a check said no; the answer is recorded."""


class TrainingFailed(AiInfraError):
    """A training ran and did not make what it should; the job says so."""


class EvaluationFailed(AiInfraError):
    """An evaluation ran and did not measure what it should; the message says where its log is."""


class Unavailable(AiInfraError):
    """A required part could not be reached or did not answer properly; the same call may work later.

    `part` is one of `database`, `artifact_store`, `signer`, `sentinelnet`, `dataset`, `code`, `training`,
    `prefect_server`, `audit_sink`, `verification`, `identity_provider`, `service`, `go_service`, `scanner`, `policy`, `rollouts`.
    """

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part

    def __reduce__(self) -> tuple[type["Unavailable"], tuple[str, str]]:
        """Keep `part` when the error crosses a process."""
        return type(self), (self.part, str(self))


class EvidenceBroken(AiInfraError):
    """A recorded claim does not verify; `place` names where."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place
        self.detail = message

    def __reduce__(self) -> tuple[type["EvidenceBroken"], tuple[str, str]]:
        """Keep `place` when the error crosses a process."""
        return type(self), (self.place, self.detail)


class Misconfigured(AiInfraError):
    """A setting is missing, wrong or forbidden here; the message names it."""
