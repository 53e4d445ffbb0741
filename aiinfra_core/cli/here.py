"""The commands' registry in this machine's own installation: the core's functions, and what they give as the wire's records."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from aiinfra_core import approving, artifact_store, awaiting, checksums, database, jobs, prefect_runs
from aiinfra_core.approving.statements import Vouched
from aiinfra_core.artifact_store import streams
from aiinfra_core.cli.output import working
from aiinfra_core.cli.registry import Agreed, Known, Listed, Ordered, Registration, TakenBack, Wanted, WantedBack
from aiinfra_core.cli.typed import checked, person, reference
from aiinfra_core.domain.approval import THIS_MACHINE
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.rollout import Action, RollbackRequest
from aiinfra_core.domain.training import JobStatus, Lease, TrainingJob, TrainingSpec
from aiinfra_core.errors import BadInput
from aiinfra_core.policy import files, gate
from aiinfra_core.promoting import promote
from aiinfra_core.registering import register, registration_of
from aiinfra_core.registry import (
    artifacts,
    cards,
    evaluations,
    imports,
    leases,
    promotions,
    reproductions,
    rollout_views,
    scans,
    tombstones,
)
from aiinfra_core.registry import jobs as recorded_jobs
from aiinfra_core.rolling_back import roll_back
from aiinfra_core.settings import Settings, environment_named
from aiinfra_core.verifying import verify_model
from aiinfra_core.wire.approvals import SentAgreement, SentApprovals
from aiinfra_core.wire.executing import SentJobDetails, sent_job_details
from aiinfra_core.wire.reading import SentCheck, SentReport, SentReproduction
from aiinfra_core.wire.records import SentArtifact, SentJob, SentPromotion, sent_artifact, sent_card, sent_job, sent_promotion
from aiinfra_core.wire.rollouts import SentRollout, SentRolloutDetails
from aiinfra_core.wire.scans import SentScan, sent_scan


class Here:
    """The installation of these settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def now(self) -> datetime:
        """Return what this machine's clock says."""
        return datetime.now(UTC)

    def environments(self) -> Sequence[str]:
        """Return the environments in the order a model takes."""
        return self._settings.environments

    def judges_by_default(self) -> bool:
        """Whether the shipped policy `default` is all that decides."""
        return gate.gates(self._settings) == (gate.LOCAL,) and self._settings.policy in (None, files.DEFAULT)

    def train(
        self, spec: TrainingSpec, *, requested_by: str | None, request_id: str | None, wait: bool, tell: Callable[[str], None]
    ) -> SentJob:
        """Train in this process; without waiting, leave the job to a runner."""
        who = person(requested_by)
        if wait:
            ended = jobs.train(self._settings, spec, requested_by=who, request_id=request_id, on_output=lambda line: tell(f"  | {line}"))
            return sent_job(ended)
        return self.job(jobs.request_training(self._settings, spec, requested_by=who, request_id=request_id))

    def job(self, job_id: UUID) -> SentJobDetails:
        """Return one job and who runs it."""
        with database.snapshot(self._settings) as tx:
            job, lease = recorded_jobs.get(tx, job_id), leases.of_job(tx, job_id)
        return self._shown(job, lease)

    def jobs(self, model: str | None, status: str | None, code_ref: str | None, limit: int, after: UUID | None) -> Sequence[SentJobDetails]:
        """Return jobs, newest first, and who runs them."""
        with database.snapshot(self._settings) as tx:
            seen = recorded_jobs.get(tx, after) if after else None
            wanted = recorded_jobs.Wanted(status=JobStatus(status) if status else None, model=model, code_ref=code_ref)
            found = recorded_jobs.newest(tx, wanted, limit=limit, after=(seen.created_at, seen.id) if seen else None)
            known = leases.of_jobs(tx, [job.id for job in found])
        return [self._shown(job, known.get(job.id)) for job in found]

    def register(self, wanted: Registration) -> SentArtifact:
        """Register what a job made, a path (put into the store first) or stored bytes."""
        request = self._of_job(wanted, wanted.job) if wanted.job else self._of_bytes(wanted)
        with working(f"Registering {request.model}"):
            return sent_artifact(register(self._settings, request))

    def promote(self, wanted: Wanted) -> SentPromotion:
        """Take a promotion through its steps."""
        request = checked(
            PromotionRequest,
            artifact=reference(self._settings, wanted.artifact),
            environment=wanted.environment,
            evaluation=wanted.evaluation,
            judged_on=wanted.judged_on,
            requested_by=person(wanted.requested_by),
            request_id=wanted.request_id,
            rollout=wanted.rollout,
            overrides=wanted.overrides,
        )
        return sent_promotion(promote(self._settings, request))

    def roll_back(self, wanted: WantedBack) -> SentPromotion:
        """Go back to what was current before."""
        request = checked(RollbackRequest, **wanted.model_dump() | {"requested_by": person(wanted.requested_by)})
        return sent_promotion(roll_back(self._settings, request))

    def promotion(self, promotion_id: UUID) -> SentPromotion:
        """Return one promotion."""
        with database.autocommit(self._settings) as connection:
            return sent_promotion(promotions.get(connection, promotion_id))

    def pending(self, limit: int) -> Sequence[SentPromotion]:
        """Return the promotions that wait for people, newest first."""
        with database.snapshot(self._settings) as tx:
            return [sent_promotion(one) for one in promotions.waiting(tx, limit)]

    def approvals(self, promotion_id: UUID) -> SentApprovals:
        """Return what a promotion waits for and who agreed."""
        return awaiting.approvals_of(self._settings, promotion_id)

    def approve(self, agreed: Agreed) -> SentAgreement:
        """Keep an approval; without an envelope this machine vouches for whoever types, which only development takes."""
        vouched = self._vouched(agreed.promotion, agreed.approver) if agreed.envelope is None else None
        approval, _ = approving.approve(
            self._settings,
            agreed.promotion,
            manifest=agreed.manifest,
            envelope=agreed.envelope,
            identity=vouched,
            comment=agreed.comment,
        )
        return awaiting.agreement(self._settings, agreed.promotion, approval.id)

    def withdraw(self, taken: TakenBack) -> SentAgreement:
        """Take an approval back, in the name of whoever gave it."""
        vouched = self._vouched(taken.promotion, taken.approver) if taken.envelope is None else None
        approving.withdraw(self._settings, taken.approval, envelope=taken.envelope, identity=vouched, reason=taken.reason)
        return awaiting.agreement(self._settings, taken.promotion, taken.approval)

    def approval_page(self, promotion_id: UUID) -> str:
        """Return the page that shows an approver what they would agree to."""
        from aiinfra_core.http_api import approval_page  # templates take a while to import, and only this needs them

        return approval_page.page(*awaiting.story_of(self._settings, promotion_id), self._settings.public_url)

    def rollouts(self, environment: str | None, model: str | None, only_open: bool, limit: int) -> Sequence[SentRollout]:
        """Return rollouts, newest first."""
        place = environment_named(self._settings, environment) if environment else None
        with database.autocommit(self._settings) as connection:
            return rollout_views.newest(connection, environment=place, model=model, only_open=only_open, limit=limit)

    def rollout(self, rollout_id: UUID) -> SentRolloutDetails:
        """Return one rollout with its orders and looks."""
        with database.snapshot(self._settings) as tx:
            return rollout_views.details(tx, rollout_id)

    def order_rollout(self, ordered: Ordered) -> SentRollout:
        """Order it in the name of whoever types."""
        from aiinfra_core import rolling_out  # only orders need it

        rolling_out.order(
            self._settings,
            ordered.rollout,
            Action(ordered.action),
            reason=ordered.reason,
            ordered_by=person(ordered.ordered_by),
            step=ordered.step,
            issuer=THIS_MACHINE,
            request_id=ordered.request_id,
        )
        with database.autocommit(self._settings) as connection:
            return rollout_views.get(connection, ordered.rollout)

    def rollout_page(self, rollout_id: UUID) -> str:
        """Return the page that shows a rollout with the plot of its evidence."""
        from aiinfra_core.http_api import rollout_page  # as above

        return rollout_page.page(self.rollout(rollout_id), self.now(), self._settings.public_url)

    def artifact(self, reference_typed: str) -> SentArtifact:
        """Return one version."""
        with database.transaction(self._settings) as tx:
            return sent_artifact(artifacts.find(tx, reference(self._settings, reference_typed)))

    def versions(self, model: str | None, limit: int, after: UUID | None) -> Sequence[Listed]:
        """Return versions, newest first."""
        with database.snapshot(self._settings) as tx:
            seen = artifacts.get(tx, after) if after else None
            found = artifacts.newest(tx, model=model, limit=limit, after=(seen.created_at, seen.id) if seen else None)
            places = promotions.pointers(tx)
        return [
            Listed(artifact=sent_artifact(one), current_in=tuple(place.environment for place in places if place.artifact_id == one.id))
            for one in found
        ]

    def known(self, reference_typed: str) -> Known:
        """Return a version and all that is recorded about it, as of one moment."""
        with database.snapshot(self._settings) as tx:
            found = artifacts.find(tx, reference(self._settings, reference_typed))
            card = cards.newest(tx, found.model, found.version) or cards.newest(tx, found.model, None)
            scan, again = scans.newest(tx, found.id), reproductions.newest(tx, found.id)
            imported, tombstone = imports.of_artifact(tx, found.id), tombstones.of_artifact(tx, found.id)
            return Known(
                artifact=sent_artifact(found),
                job=sent_job(recorded_jobs.get(tx, found.training_job_id)) if found.training_job_id else None,
                evaluations=tuple(evaluations.of_artifact(tx, found.id)),
                promotions=tuple(sent_promotion(one) for one in promotions.of_artifact(tx, found.id)),
                current_in=tuple(place for place in promotions.pointers(tx) if place.artifact_id == found.id),
                card=sent_card(card) if card else None,
                imported_from=imported.source if imported else None,
                pruned=f"{tombstone.reason}, by {tombstone.pruned_by}" if tombstone else None,
                scan=sent_scan(scan) if scan else None,
                reproduction=SentReproduction.model_validate(again.model_dump(exclude={"request_id"})) if again else None,
            )

    def scan(self, artifact: SentArtifact) -> SentScan | None:
        """Return what the newest scan of a version found, None where nobody looked."""
        with database.autocommit(self._settings) as connection:
            found = scans.newest(connection, artifact.id)
        return sent_scan(found) if found else None

    def verify(self, reference_typed: str) -> SentReport:
        """Check what is recorded about a version, and its bytes."""
        begun = datetime.now(UTC)
        artifact, steps = verify_model(self._settings, reference(self._settings, reference_typed))
        checks = tuple(SentCheck(name=step.name, passed=step.passed, detail=step.detail) for step in steps)
        return SentReport(artifact=sent_artifact(artifact), verified=all(step.passed for step in steps), checked_at=begun, checks=checks)

    def _vouched(self, promotion_id: UUID, approver: str | None) -> Vouched:
        if self._settings.production or self._settings.trust_root is not None:
            raise BadInput("Nobody proves here who they are: sign with a key of yours, --key URI, or ask a service with --server URL.")
        with database.autocommit(self._settings) as connection:
            asked = promotions.get(connection, promotion_id).approvals_required or {}
        return Vouched(person(approver), tuple(sorted({"approver", *asked})), THIS_MACHINE)

    def _shown(self, job: TrainingJob, lease: Lease | None) -> SentJobDetails:
        run = prefect_runs.address_of(self._settings, lease.flow_run_id) if lease and lease.flow_run_id else None
        return sent_job_details(job, lease, run)

    def _of_job(self, wanted: Registration, job_id: UUID) -> RegistrationRequest:
        with database.transaction(self._settings) as tx:
            job = recorded_jobs.get(tx, job_id)
        return checked(RegistrationRequest, **registration_of(job).model_dump() | _given(wanted))

    def _of_bytes(self, wanted: Registration) -> RegistrationRequest:
        uri, checksum = (wanted.uri, wanted.checksum) if wanted.path is None else _stored(self._settings, Path(wanted.path))
        fields = {"model": wanted.model, "artifact_uri": uri, "checksum": checksum, "registered_by": person(wanted.registered_by)}
        return checked(RegistrationRequest, **fields | _given(wanted))


def _given(wanted: Registration) -> dict[str, object]:
    named = wanted.model_dump(include={"metadata", "registered_by", "request_id"})
    return {name: value for name, value in named.items() if value is not None}


def _stored(settings: Settings, source: Path) -> tuple[str, str]:
    with working(f"Storing {source}"):
        stored = artifact_store.put(artifact_store.location(settings), source, f"uploads/{_digest(source)}")
    return stored.uri, stored.checksum


# The key is the digest, so that the same bytes are stored once, whatever they are called here.
def _digest(source: Path) -> str:
    if not streams.is_directory(source):
        return _digest_of_file(source)
    return checksums.directory_digest({name: _digest_of_file(source / name) for name in streams.files_below(source)})


def _digest_of_file(path: Path) -> str:
    with streams.of_source(path) as stream:
        return streams.pour(stream).checksum
