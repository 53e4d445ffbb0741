"""The commands' registry at a service: the client's calls, and what they give put together as it is here."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from aiinfra_core.cli.output import working
from aiinfra_core.cli.registry import Agreed, Known, Listed, Ordered, Registration, TakenBack, Wanted, WantedBack
from aiinfra_core.cli.typed import checked
from aiinfra_core.client import Client, PromotionUnavailable
from aiinfra_core.domain.artifact import Evaluation
from aiinfra_core.domain.promotion import Pointer, PromotionStatus
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.errors import BadInput, Conflict, NotAllowed, NotFound, Unauthenticated
from aiinfra_core.wire.approvals import SentAgreement, SentApprovals
from aiinfra_core.wire.asking import AskedRegistration
from aiinfra_core.wire.executing import SentJobDetails
from aiinfra_core.wire.reading import SentReport
from aiinfra_core.wire.records import SentArtifact, SentCard, SentJob, SentPromotion
from aiinfra_core.wire.rollouts import SentRollout, SentRolloutDetails
from aiinfra_core.wire.scans import SentScan

_TICK = timedelta(microseconds=1)
_PAGE = 500
_A_COMMAND = re.compile(r"aiinfra rollout \w+ [0-9a-f-]{36}")
_NOBODY_CLAIMS = "  | still queued; nobody has claimed it: start aiinfra runner, or aiinfra serve --run-runner"


class There:
    """The registry of the service a client asks; `named` is what names it in a command."""

    def __init__(self, client: Client, named: str = "") -> None:
        self._client, self._named = client, named

    def now(self) -> datetime:
        """Return what the service's clock says."""
        return self._client.clock()

    def environments(self) -> Sequence[str]:
        """Return the environments in the order a model takes."""
        return [one.name for one in self._client.environments()]

    def judges_by_default(self) -> bool:
        """A service does not tell which policy decides."""
        return False

    def train(
        self, spec: TrainingSpec, *, requested_by: str | None, request_id: str | None, wait: bool, tell: Callable[[str], None]
    ) -> SentJob:
        """Queue a training and wait for whoever runs it."""
        _refuse_person("--requested-by", requested_by)
        queued = self._client.train(spec, request_id=request_id)
        if not wait:
            return self.job(queued.id)
        return self._client.wait_for_job(
            queued.id,
            on_change=lambda job: tell(f"  | job {job.id} is {job.status}"),
            on_long_queued=lambda _job: tell(_NOBODY_CLAIMS),
        )

    def job(self, job_id: UUID) -> SentJobDetails:
        """Return one job and who runs it."""
        return self._client.job(job_id)

    def jobs(self, model: str | None, status: str | None, code_ref: str | None, limit: int, after: UUID | None) -> Sequence[SentJobDetails]:
        """Return jobs, newest first, and who runs them."""
        seen = self._client.job(after) if after else None
        until = seen.created_at + _TICK if seen else None
        asked = self._client.jobs(model=model, status=status, code_ref=code_ref, until=until, page_size=min(limit + 1, _PAGE))
        below = (one for one in asked if seen is None or _place(one) < _place(seen))
        return [self._client.job(one.id) for one in islice(below, limit)]

    def register(self, wanted: Registration) -> SentArtifact:
        """Register what a job made, or bytes that are where the service may read them."""
        if wanted.path is not None:
            raise BadInput(
                f"A service cannot read {wanted.path} on this machine; put the bytes into an artifact store it may read, then "
                "register --model NAME --uri URI --checksum HEX"
            )
        _refuse_person("--registered-by", wanted.registered_by)
        with working("Registering"):
            if wanted.job is not None:
                return self._of_job(self.job(wanted.job), wanted)
            named = {"artifact_uri": wanted.uri, "checksum": wanted.checksum, "model": wanted.model, "metadata": wanted.metadata or {}}
            asked = checked(AskedRegistration, **named)
            return self._client.register(**asked.model_dump(), request_id=wanted.request_id)

    def promote(self, wanted: Wanted) -> SentPromotion:
        """Ask for a promotion over what is current now, so that asking again, by hand or after a lost answer, finds it."""
        artifact = self.artifact(wanted.artifact)
        seen = self._sequence(wanted.environment, artifact.model) if wanted.request_id is None else None
        try:
            return self._client.promote(
                artifact.id,
                wanted.environment,
                evaluation=wanted.evaluation,
                judged_on=wanted.judged_on,
                requested_by=wanted.requested_by,
                request_id=wanted.request_id,
                expected_sequence=seen,
                rollout=wanted.rollout,
                overrides=wanted.overrides,
            )
        except PromotionUnavailable as error:
            return error.promotion
        except Conflict as error:
            raise Conflict(_A_COMMAND.sub(rf"\g<0>{self._named}", str(error))) from error

    def roll_back(self, wanted: WantedBack) -> SentPromotion:
        """Ask for a rollback."""
        try:
            return self._client.roll_back(**wanted.model_dump())
        except PromotionUnavailable as error:
            return error.promotion

    def promotion(self, promotion_id: UUID) -> SentPromotion:
        """Return one promotion."""
        return self._client.promotion(promotion_id)

    def pending(self, limit: int) -> Sequence[SentPromotion]:
        """Return the promotions that wait for people, newest first."""
        return list(islice(self._client.promotions(status=PromotionStatus.PENDING_APPROVAL, page_size=min(limit, _PAGE)), limit))

    def approvals(self, promotion_id: UUID) -> SentApprovals:
        """Return what a promotion waits for and who agreed."""
        return self._client.approvals(promotion_id)

    def approve(self, agreed: Agreed) -> SentAgreement:
        """Hand an approval in; without an envelope the service vouches for whom it knows."""
        if agreed.envelope is None:
            _refuse_person("--approver", agreed.approver)
        return self._client.approve(agreed.promotion, agreed.manifest, comment=agreed.comment, envelope=agreed.envelope)

    def withdraw(self, taken: TakenBack) -> SentAgreement:
        """Hand a withdrawal in."""
        if taken.envelope is None:
            _refuse_person("--approver", taken.approver)
        return self._client.withdraw_approval(taken.promotion, taken.approval, reason=taken.reason, envelope=taken.envelope)

    def approval_page(self, promotion_id: UUID) -> str:
        """Return the page that shows an approver what they would agree to."""
        return self._client.promotion_page(promotion_id)

    def rollouts(self, environment: str | None, model: str | None, only_open: bool, limit: int) -> Sequence[SentRollout]:
        """Return rollouts, newest first."""
        asked = self._client.rollouts(environment=environment, model=model, only_open=only_open, page_size=min(limit, _PAGE))
        return list(islice(asked, limit))

    def rollout(self, rollout_id: UUID) -> SentRolloutDetails:
        """Return one rollout with its orders and looks."""
        return self._client.rollout(rollout_id)

    def order_rollout(self, ordered: Ordered) -> SentRollout:
        """Order it in the name of who asks."""
        _refuse_person("--ordered-by", ordered.ordered_by)
        ask = self._client.order_rollout
        return ask(ordered.rollout, ordered.action, reason=ordered.reason, step=ordered.step, request_id=ordered.request_id)

    def rollout_page(self, rollout_id: UUID) -> str:
        """Return the page that shows a rollout with the plot of its evidence."""
        return self._client.rollout_page(rollout_id)

    def artifact(self, reference: str) -> SentArtifact:
        """Return one version; what an environment is called, the service knows."""
        model, at, environment = reference.partition("@")
        return self._client.current(environment, model).artifact if at else self._client.model(reference).artifact

    def versions(self, model: str | None, limit: int, after: UUID | None) -> Sequence[Listed]:
        """Return versions, newest first."""
        seen = self._client.model(after).artifact if after else None
        until = seen.created_at + _TICK if seen else None
        below = (
            one
            for one in self._client.models(model=model, created_before=until, page_size=min(limit + 1, _PAGE))
            if seen is None or _place(one) < _place(seen)
        )
        found = list(islice(below, limit))
        if not found:
            return []
        first, last = found[0].created_at + _TICK, found[-1].created_at
        try:
            environments = sorted(self.environments())
        except Unauthenticated:  # where reads are public, the list of environments still is not
            return [Listed(artifact=one, current_in=None) for one in found]
        current = {
            name: {one.id for one in self._client.models(environment=name, model=model, created_after=last, created_before=first)}
            for name in environments
        }
        return [Listed(artifact=one, current_in=tuple(name for name in current if one.id in current[name])) for one in found]

    def known(self, reference: str) -> Known:
        """Return a version and all that is recorded about it."""
        found = self._client.model(self.artifact(reference).id)
        nodes = self._client.lineage(found.artifact.id).nodes
        job_id = found.artifact.training_job_id
        return Known(
            artifact=found.artifact,
            job=self.job(job_id) if job_id else None,
            evaluations=tuple(Evaluation.model_validate(node.about) for node in nodes if node.kind == "evaluation"),
            promotions=found.promotions,
            current_in=tuple(self._places(found.artifact)),
            card=self._card(found.artifact),
            imported_from=next((node.about["source"] for node in nodes if node.kind == "import"), None),
            pruned=next((f"{node.about['reason']}, by {node.about['prunedBy']}" for node in nodes if node.kind == "tombstone"), None),
            scan=self.scan(found.artifact),
            reproduction=next(self._client.reproductions(found.artifact.id, page_size=1), None),
        )

    def scan(self, artifact: SentArtifact) -> SentScan | None:
        """Return what the newest scan of a version found, None where nobody looked."""
        try:
            return self._client.scan(artifact.id)
        except (NotFound, NotAllowed):  # whoever may register need not be allowed to read
            return None

    def verify(self, reference: str) -> SentReport:
        """Let the service check what is recorded about a version, and its bytes."""
        return self._client.verify(self.artifact(reference).id)

    def _card(self, artifact: SentArtifact) -> SentCard | None:
        for version in (artifact.version, None):
            try:
                return self._client.card(artifact.model, version)
            except NotFound:
                continue
        return None

    # Who runs a job registers what it made, in the name of whoever asked for it: then it is there already.
    def _of_job(self, job: SentJob, wanted: Registration) -> SentArtifact:
        try:
            return self._client.register_job(job, metadata=wanted.metadata, request_id=wanted.request_id)
        except Conflict:
            made = self._client.models(training_job_id=job.id, checksum=job.checksum)
            known = next(made, None) if wanted.metadata is None and wanted.request_id is None else None
            if known is None:
                raise
            return known

    def _sequence(self, environment: str, model: str) -> int:
        try:
            return self._client.current(environment, model).sequence
        except NotFound:
            return 0

    def _places(self, artifact: SentArtifact) -> Sequence[Pointer]:
        places = []
        for environment in sorted(self.environments()):
            try:
                now = self._client.current(environment, artifact.model)
            except NotFound:
                continue
            if now.artifact.id == artifact.id:
                named = {name: getattr(now, name) for name in ("environment", "model", "sequence", "updated_at")}
                places.append(Pointer(promotion_id=now.promotion.id, artifact_id=artifact.id, **named))
        return places


def _place(one: SentArtifact | SentJob) -> tuple[datetime, UUID]:
    return one.created_at, one.id


def _refuse_person(option: str, given: str | None) -> None:
    if given is not None:
        raise BadInput(f"A service records who proved to ask; leave {option} out.")
