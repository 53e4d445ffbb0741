"""How a run ends: a small record of what came of it, and the name Prefect shows for that end.

What was recorded is the truth; this only says it again. A policy's no is an answer and ends a run Completed; a required part that
could not be reached, a failed training and evidence that does not verify end it Failed with the reason.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from prefect.states import Completed

from aiinfra_core.audit_log.checking.check import History
from aiinfra_core.domain.artifact import Artifact, Evaluation
from aiinfra_core.domain.promotion import Promotion, PromotionStatus, standing
from aiinfra_core.domain.record import Name, Record, Sha256
from aiinfra_core.domain.reproduction import Outcome, Reproduction
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.errors import EvidenceBroken, TrainingFailed, Unavailable
from aiinfra_core.verifying import Step

_UNAVAILABLE = "unavailable:"


class TrainingOutcome(Record):
    """What a completed training made."""

    training_job_id: UUID
    model: Name
    status: JobStatus
    checksum: Sha256 | None
    metrics: dict[str, float]

    def __str__(self) -> str:
        """Say it in a line."""
        scored = f", quality {self.metrics['quality']:.4f}" if "quality" in self.metrics else ""
        return f"{self.model} trained: digest {self.checksum}{scored} (job {self.training_job_id})"


class RegistrationOutcome(Record):
    """Which version of a model some bytes are."""

    artifact_id: UUID
    model: Name
    version: int
    checksum: Sha256
    signer_id: str

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.model}:{self.version} registered: digest {self.checksum}, signed by {self.signer_id}"


class EvaluationOutcome(Record):
    """What was measured; `champion` is what the current artifact has in the same metrics, where it was asked for and there is one."""

    artifact_id: UUID
    model: Name
    version: int
    evaluation: Sha256
    metrics: dict[str, float]
    champion: dict[str, float] | None

    def __str__(self) -> str:
        """Say it in a line."""
        than = self.champion or {}
        scores = (f"{name} {value:.4g}" + (f" (now {than[name]:.4g})" if name in than else "") for name, value in self.metrics.items())
        return f"{self.model}:{self.version} measured: {', '.join(scores)}"


class ReproductionOutcome(Record):
    """What came out when a training was run again, and the kinds of the likely causes where it was something else."""

    reproduction_id: UUID
    artifact_id: UUID
    model: Name
    version: int
    outcome: Outcome
    checksum: Sha256
    reproduced_checksum: Sha256 | None
    causes: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in a line."""
        why = f" ({', '.join(self.causes)})" if self.causes else ""
        return f"{self.model}:{self.version} reproduced: {self.outcome.replace('_', ' ')}{why}"


class PromotionOutcome(Record):
    """How a promotion ended."""

    promotion_id: UUID
    artifact_id: UUID
    model: Name
    version: int
    environment: Name
    checksum: Sha256
    status: PromotionStatus
    reason: str | None
    signer_id: str | None

    def __str__(self) -> str:
        """Say it in a line."""
        said = f": {self.reason}" if self.reason else ""
        return f"{self.model}:{self.version} to {self.environment}: {self.status}{said}"


class RollbackOutcome(PromotionOutcome):
    """The promotion that goes back, or, where a rollout was open, the one that was sent back."""

    def __str__(self) -> str:
        """Say it in a line."""
        if self.status is PromotionStatus.ROLLED_BACK:
            return f"{self.model}:{self.version} was sent back; all traffic of {self.environment} goes to what was current all along"
        return f"back: {super().__str__()}"


class PipelineOutcome(Record):
    """What came of a model from its training to the last environment that was asked."""

    training_job_id: UUID
    registered: RegistrationOutcome
    promotions: tuple[PromotionOutcome, ...]

    @property
    def status(self) -> PromotionStatus:
        """How the last promotion ended."""
        return self.promotions[-1].status

    @property
    def reason(self) -> str | None:
        """Why it ended so."""
        return self.promotions[-1].reason

    def __str__(self) -> str:
        """Say it in a line."""
        return "; ".join(str(promotion) for promotion in self.promotions)


class VerificationOutcome(Record):
    """What was verified, when nothing was found."""

    events: int
    waiting: int
    checks: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in a line."""
        checked = f"; {', '.join(self.checks)}" if self.checks else ""
        return f"verified: {self.events} events chained and signed, every row matches its last event{checked}"


class DeliveryOutcome(Record):
    """What was delivered, when every sink works; what a sink refused for good was set aside."""

    sinks: int
    delivered: int
    set_aside: int

    def __str__(self) -> str:
        """Say it in a line."""
        return f"delivered: {self.delivered} events to {self.sinks} sinks, {self.set_aside} set aside"


class SettlingOutcome(Record):
    """What became of promotions that waited."""

    promotions: dict[UUID, PromotionStatus]

    def __str__(self) -> str:
        """Say it in a line."""
        return f"settled: {len(self.promotions)} promotions"


_Promoted = TypeVar("_Promoted", RollbackOutcome, PromotionOutcome, PipelineOutcome)


def trained(job: TrainingJob) -> TrainingOutcome:
    """Return what a completed training made.

    Raises:
        TrainingFailed: it failed; the same request will not do better.
    """
    if job.status is not JobStatus.COMPLETED:
        raise TrainingFailed(f"Training job {job.id} of {job.spec.model} failed: {job.error}")
    return TrainingOutcome(
        training_job_id=job.id, model=job.spec.model, status=job.status, checksum=job.checksum, metrics=job.metrics or {}
    )


def registered(artifact: Artifact) -> RegistrationOutcome:
    """Return which version of a model was registered."""
    return RegistrationOutcome(artifact_id=artifact.id, **artifact.model_dump(include={"model", "version", "checksum", "signer_id"}))


def evaluated(artifact: Artifact, evaluation: Evaluation, champion: Evaluation | None) -> EvaluationOutcome:
    """Return what was measured."""
    return EvaluationOutcome(
        artifact_id=artifact.id,
        model=artifact.model,
        version=artifact.version,
        evaluation=evaluation.digest,
        metrics=evaluation.metrics,
        champion=champion and champion.metrics,
    )


def compared(reproduction: Reproduction, artifact: Artifact) -> ReproductionOutcome:
    """Return what came out of a training that was run again.

    Raises:
        TrainingFailed: nothing did, and that is recorded.
    """
    if reproduction.outcome is Outcome.FAILED:
        raise TrainingFailed(f"{artifact.model}:{artifact.version} could not be trained again: {reproduction.report['error']}")
    return ReproductionOutcome(
        reproduction_id=reproduction.id,
        causes=tuple(cause["kind"] for cause in reproduction.report["causes"]),
        **reproduction.model_dump(include={"artifact_id", "outcome", "reproduced_checksum"}),
        **artifact.model_dump(include={"model", "version", "checksum"}),
    )


def promoted(promotion: Promotion, artifact: Artifact) -> PromotionOutcome:
    """Return how a promotion ended.

    Raises:
        Unavailable: a required part could not be reached, so the recorded answer is no; it may be asked again.
    """
    if promotion.status is PromotionStatus.REJECTED and (promotion.reason or "").startswith(_UNAVAILABLE):
        part, _, reason = (promotion.reason or "").removeprefix(_UNAVAILABLE).partition(" ")
        raise Unavailable(part, f"{_UNAVAILABLE}{part} {reason}")
    return PromotionOutcome(
        promotion_id=promotion.id,
        version=artifact.version,
        checksum=artifact.checksum,
        reason=standing(promotion),
        **promotion.model_dump(include={"artifact_id", "model", "environment", "status", "signer_id"}),
    )


def went_back(promotion: Promotion, artifact: Artifact) -> RollbackOutcome:
    """Return how a rollback ended.

    Raises:
        Unavailable: as `promoted`.
    """
    return RollbackOutcome(**promoted(promotion, artifact).model_dump())


def verified(history: History, steps: Sequence[Step]) -> VerificationOutcome:
    """Return what was checked.

    Raises:
        EvidenceBroken: something does not verify; names the first place, and how many more there are.
    """
    findings = [(finding.place, finding.problem) for finding in history.findings]
    findings += [(step.name, step.detail) for step in steps if not step.passed]
    if findings:
        (place, problem), *more = findings
        raise EvidenceBroken(place, f"{problem}{f' (and {len(more)} more findings)' if more else ''}")
    return VerificationOutcome(events=history.events, waiting=history.waiting, checks=tuple(step.name for step in steps))


def settled(promotions: Sequence[Promotion]) -> SettlingOutcome:
    """Return what became of promotions that waited."""
    return SettlingOutcome(promotions={one.id: one.status for one in promotions})


def delivered(done: Sequence[Mapping[str, Any]]) -> DeliveryOutcome:
    """Return what was delivered.

    Raises:
        Unavailable: a sink is down; the next run tries again.
    """
    if problems := [f"{one['sink']}: {one['problem']}" for one in done if one["problem"]]:
        raise Unavailable("audit_sink", " ".join(problems))
    counts = {name: sum(one[name] for one in done) for name in ("delivered", "set_aside")}
    return DeliveryOutcome(sinks=len(done), **counts)


def ended(outcome: _Promoted) -> _Promoted:
    """End the run named after how the promotion stands: Completed when applied, else RollingOut, Rejected, PendingApproval, Superseded."""
    if outcome.status is PromotionStatus.APPLIED:
        return outcome
    name = outcome.status.replace("_", " ").title().replace(" ", "")
    # Prefect takes a returned state as the end of the run and gives its data to whoever called the flow.
    return cast("_Promoted", Completed(name=name, message=outcome.reason, data=outcome))


def named_after_outcome(outcome: ReproductionOutcome) -> ReproductionOutcome:
    """End the run Completed, named Identical, WithinTolerance or Different."""
    name = outcome.outcome.replace("_", " ").title().replace(" ", "")
    return cast("ReproductionOutcome", Completed(name=name, message=str(outcome), data=outcome))
