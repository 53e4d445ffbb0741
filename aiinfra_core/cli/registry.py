"""Where a command does its work: in this machine's installation, or at the service named with --server. Both give the wire's records.

`here` and `there` are the two; a command's body knows only what they have in common.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Protocol
from uuid import UUID

from cyclopts import Parameter

from aiinfra_core.domain.artifact import Evaluation
from aiinfra_core.domain.promotion import Pointer
from aiinfra_core.domain.record import Record
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.wire.approvals import SentAgreement, SentApprovals
from aiinfra_core.wire.executing import SentJobDetails
from aiinfra_core.wire.reading import SentReport, SentReproduction
from aiinfra_core.wire.records import SentArtifact, SentCard, SentJob, SentPromotion
from aiinfra_core.wire.rollouts import SentRollout, SentRolloutDetails
from aiinfra_core.wire.scans import SentScan

PATIENCE_SECONDS = 15.0
"""How long a command asks a service that does not answer."""

UNREACHED_SECONDS = 2.0
"""How long it begins to read again where nobody has answered yet: most often the address is wrong."""

Server = Annotated[
    str | None,
    Parameter(
        help="Do it at this service, such as https://registry.example, instead of here. It takes AI_INFRA_TOKEN or "
        "AI_INFRA_CLIENT_CERT and AI_INFRA_CLIENT_KEY to say who asks, AI_INFRA_CA where its CA is your own.",
        env_var="AI_INFRA_SERVER",
    ),
]


class Registration(Record):
    """What is to be registered: what a job made, or bytes somewhere; `path` is a file or directory of this machine."""

    job: UUID | None = None
    path: str | None = None
    model: str | None = None
    uri: str | None = None
    checksum: str | None = None
    metadata: dict[str, Any] | None = None
    registered_by: str | None = None
    request_id: str | None = None


class Wanted(Record):
    """A promotion that is wanted, as it was typed."""

    artifact: str
    environment: str
    evaluation: dict[str, Any] | None
    judged_on: str | None
    requested_by: str | None
    request_id: str | None
    rollout: RolloutSpec | None = None
    overrides: UUID | None = None


class WantedBack(Record):
    """A rollback that is wanted, as it was typed."""

    model: str
    environment: str
    to: int | None
    reason: str
    requested_by: str | None
    request_id: str | None


class Listed(Record):
    """A version in a list and the environments it is current in, None where that is not told to whoever asks."""

    artifact: SentArtifact
    current_in: tuple[str, ...] | None


class Known(Record):
    """What is recorded about a version; `scan` and `reproduction` are the newest."""

    artifact: SentArtifact
    job: SentJob | None
    evaluations: tuple[Evaluation, ...]
    promotions: tuple[SentPromotion, ...]
    current_in: tuple[Pointer, ...]
    card: SentCard | None = None
    imported_from: str | None = None
    pruned: str | None = None
    scan: SentScan | None = None
    reproduction: SentReproduction | None = None


class Agreed(Record):
    """An approval that is to be given: of this manifest, signed with a key of the approver's or by who vouches for them."""

    promotion: UUID
    manifest: str
    approver: str | None
    comment: str | None
    envelope: bytes | None


class TakenBack(Record):
    """An approval that is to be taken back."""

    promotion: UUID
    approval: UUID
    approver: str | None
    reason: str | None
    envelope: bytes | None


class Ordered(Record):
    """What is to be done with a rollout, as it was typed."""

    rollout: UUID
    action: str
    step: int | None
    reason: str
    ordered_by: str | None
    request_id: str | None


class Registry(Protocol):
    """What the commands need of a registry; references are as people type them."""

    def now(self) -> datetime:
        """Return what its clock says; what is older was done before."""

    def environments(self) -> Sequence[str]:
        """Return the environments in the order a model takes."""

    def judges_by_default(self) -> bool:
        """Whether it is known that the shipped policy `default`, which takes a claimed score, is all that decides."""

    def train(
        self, spec: TrainingSpec, *, requested_by: str | None, request_id: str | None, wait: bool, tell: Callable[[str], None]
    ) -> SentJob:
        """Return the job of a training, ended unless nobody waits for it; `tell` is told how it goes."""

    def job(self, job_id: UUID) -> SentJobDetails:
        """Return one job and who runs it."""

    def jobs(self, model: str | None, status: str | None, code_ref: str | None, limit: int, after: UUID | None) -> Sequence[SentJobDetails]:
        """Return jobs, newest first, and who runs them."""

    def register(self, wanted: Registration) -> SentArtifact:
        """Return the version that was registered."""

    def promote(self, wanted: Wanted) -> SentPromotion:
        """Return how a promotion ended; one that could not be judged is rejected as `unavailable:PART`."""

    def roll_back(self, wanted: WantedBack) -> SentPromotion:
        """Return the promotion that goes back, or the one that was sent back where a rollout was open."""

    def promotion(self, promotion_id: UUID) -> SentPromotion:
        """Return one promotion."""

    def pending(self, limit: int) -> Sequence[SentPromotion]:
        """Return the promotions that wait for people, newest first."""

    def approvals(self, promotion_id: UUID) -> SentApprovals:
        """Return what a promotion waits for and who agreed."""

    def approve(self, agreed: Agreed) -> SentAgreement:
        """Return the approval that was given, and the promotion after it."""

    def withdraw(self, taken: TakenBack) -> SentAgreement:
        """Return the approval that was taken back, and the promotion after it."""

    def approval_page(self, promotion_id: UUID) -> str:
        """Return the page that shows an approver what they would agree to."""

    def rollouts(self, environment: str | None, model: str | None, only_open: bool, limit: int) -> Sequence[SentRollout]:
        """Return rollouts, newest first."""

    def rollout(self, rollout_id: UUID) -> SentRolloutDetails:
        """Return one rollout with its orders and looks; of very many looks some, evenly chosen."""

    def order_rollout(self, ordered: Ordered) -> SentRollout:
        """Return a rollout as it stands after it was done with it as somebody ordered."""

    def rollout_page(self, rollout_id: UUID) -> str:
        """Return the page that shows a rollout with the plot of its evidence."""

    def artifact(self, reference: str) -> SentArtifact:
        """Return one version."""

    def versions(self, model: str | None, limit: int, after: UUID | None) -> Sequence[Listed]:
        """Return versions, newest first."""

    def known(self, reference: str) -> Known:
        """Return a version and all that is recorded about it."""

    def scan(self, artifact: SentArtifact) -> SentScan | None:
        """Return what the newest scan of a version found, None where nobody looked."""

    def verify(self, reference: str) -> SentReport:
        """Check what is recorded about a version."""


def at(server: str | None) -> str:
    """Return what a command that is to be typed next needs to go to the same place."""
    return f" --server {server}" if server else ""


@contextmanager
def registry_at(server: str | None) -> Iterator[Registry]:
    """Give the registry of a service, or without one this machine's own, with every part running.

    Raises:
        Misconfigured: a setting is missing or wrong.
    """
    # Each way imports only its own: at a service nothing of the database is needed.
    if not server:
        from aiinfra_core.cli.here import Here
        from aiinfra_core.cli.parts import running_parts

        yield Here(running_parts())
        return
    from aiinfra_core.cli.there import There
    from aiinfra_core.client import Client

    with Client.from_environment(server, deadline=PATIENCE_SECONDS, unreached=UNREACHED_SECONDS) as client:
        yield There(client, at(server))
