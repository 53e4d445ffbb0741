"""What the client asks to be done: trainings, registrations, promotions, cards."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from aiinfra_core.client.calls import BELOW, Calls, checked, new_key, query, segment
from aiinfra_core.client.reading import card_path
from aiinfra_core.domain.card import CardText
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.domain.training import JobStatus, TrainingSpec
from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.wire.asking import AskedPromotion, AskedRegistration, AskedRollback, AskedTraining
from aiinfra_core.wire.executing import SentJobDetails
from aiinfra_core.wire.records import SentArtifact, SentCard, SentJob, SentPromotion

ENDED = frozenset({JobStatus.COMPLETED.value, JobStatus.FAILED.value})
_FIRST_POLL, _LONGEST_POLL = 0.25, 5.0
LONG_QUEUED_SECONDS = 10.0


class Writing(Calls):
    """Trainings, registrations, promotions and cards."""

    def train(self, spec: AskedTraining | TrainingSpec, *, request_id: str | None = None) -> SentJob:
        """Queue a training and return the job as it was queued.

        Without a request id the same spec is the same training, whoever asks; one without a seed is a new training each time.

        Raises:
            Conflict, RequestIdReused: the request was made before, for something else.
        """
        asked = AskedTraining(**spec.model_dump()) if isinstance(spec, TrainingSpec) else spec
        key = new_key() if request_id is None and asked.seed is None else request_id
        return self._write(SentJob, f"{BELOW}/train", asked, key=key)

    def job(self, job_id: UUID | str) -> SentJobDetails:
        """Return one job and who runs it.

        Raises:
            NotFound: there is no such job.
        """
        return self._read(SentJobDetails, f"{BELOW}/jobs/{segment(job_id)}")

    def jobs(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        code_ref: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
    ) -> Iterator[SentJob]:
        """Give the jobs that match all of it, newest first; asked for at `since` or later, before `until`."""
        return self._pages(
            SentJob, f"{BELOW}/jobs", query(limit=page_size, status=status, model=model, code_ref=code_ref, since=since, until=until)
        )

    def wait_for_job(
        self,
        job_id: UUID | str,
        *,
        timeout: float | None = None,
        on_change: Callable[[SentJob], None] = lambda _job: None,
        on_long_queued: Callable[[SentJob], None] = lambda _job: None,
    ) -> SentJobDetails:
        """Return a job once it is completed or failed.

        Args:
            job_id: the job.
            timeout: how many seconds to wait at most.
            on_change: is told the job as it is now, and again whenever its status has changed.
            on_long_queued: is told the job once, when nobody has claimed it for more than 10 seconds: perhaps no runner runs.

        Raises:
            NotFound: there is no such job.
            Unavailable: naming `training`; it has not ended in time. Or the service was gone for too long.
        """
        begun, told, pause, still_new = time.monotonic(), None, _FIRST_POLL, True
        until = None if timeout is None else begun + timeout
        while True:
            job = self.job(job_id)
            if job.status != told:
                on_change(job)
                told, pause = job.status, _FIRST_POLL
            if job.status in ENDED:
                return job
            if still_new and job.status == JobStatus.QUEUED and time.monotonic() - begun > LONG_QUEUED_SECONDS:
                on_long_queued(job)
                still_new = False
            if until is not None and time.monotonic() + pause > until:
                raise Unavailable("training", f"Job {job.id} is still {job.status} after {timeout:g} s; ask for it again later.")
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL)

    def register(
        self,
        *,
        artifact_uri: str,
        checksum: str,
        training_job_id: UUID | str | None = None,
        model: str | None = None,
        metadata: dict[str, Any] | None = None,
        manifest_signature_id: str | None = None,
        request_id: str | None = None,
    ) -> SentArtifact:
        """Register stored bytes as the next version of a model; the service reads and hashes them first.

        Without a request id the same bytes for the same model and job are the same registration.

        Raises:
            DigestMismatch, ArtifactMissing: what is stored there is not what was named; nothing is recorded.
            BadInput: no model and no job was named, or the service may not read there.
            NotFound: there is no such job.
        """
        asked = checked(
            AskedRegistration,
            training_job_id=training_job_id,
            artifact_uri=artifact_uri,
            checksum=checksum,
            metadata=metadata or {},
            manifest_signature_id=manifest_signature_id,
            model=model,
        )
        return self._write(SentArtifact, f"{BELOW}/register", asked, key=request_id, takes_long=True)

    def register_job(self, job: SentJob, *, metadata: dict[str, Any] | None = None, request_id: str | None = None) -> SentArtifact:
        """Register what a completed job made; without metadata of your own, its seed and hyperparameters are kept with the version.

        Raises:
            BadInput: the job is not completed.
        """
        if job.status != JobStatus.COMPLETED or job.artifact_uri is None or job.checksum is None:
            raise BadInput(f"Training job {job.id} is {job.status}, so there is nothing to register; its log says why.")
        return self.register(
            artifact_uri=job.artifact_uri,
            checksum=job.checksum,
            training_job_id=job.id,
            metadata={"seed": job.seed, "hyperparams": job.hyperparams} if metadata is None else metadata,
            request_id=request_id,
        )

    def promote(
        self,
        artifact_id: UUID | str,
        environment: str,
        *,
        evaluation: dict[str, Any] | None = None,
        judged_on: str | None = None,
        requested_by: str | None = None,
        expected_sequence: int | None = None,
        request_id: str | None = None,
        rollout: RolloutSpec | None = None,
        overrides: UUID | None = None,
    ) -> SentPromotion:
        """Ask for a promotion and return how it ended; a no is returned too, with its `status` and `reason`.

        Args:
            artifact_id: the artifact.
            environment: where it is to become current.
            evaluation: scores you claim; without them, what was measured is judged.
            judged_on: digest of the recorded evaluation to judge; without it, the newest measured.
            requested_by: who asks, where an administrator asks for somebody else.
            expected_sequence: the sequence of what you saw to be current there, 0 for nothing; if it has changed, nothing is done.
                The promotion is then named after what is asked and what was seen, so that asking again gives the same answer.
            request_id: your name for this request; without it and without `expected_sequence` each call is a new request.
            rollout: how it is to earn its traffic; without it, the environment's own way, or all at once.
            overrides: the rollout that sent these bytes back, where they are to be tried again.

        Raises:
            Outdated: what is current is not what you saw.
            Conflict: a rollout is open there.
            PromotionUnavailable: a part the judgement needs was missing; the refusal is recorded, and the same call asks anew.
        """
        about = {"artifact_id": artifact_id, "environment": environment, "evaluation": evaluation, "judged_on": judged_on}
        more = {name: value for name, value in (("rollout", rollout), ("overrides", overrides)) if value is not None}
        asked = checked(AskedPromotion, **about, requested_by=requested_by, **more)
        key = new_key() if request_id is None and expected_sequence is None else request_id
        seen = {} if expected_sequence is None else {"If-Match": f'"{expected_sequence}"'}
        return self._write(SentPromotion, f"{BELOW}/promote", asked, key=key, headers=seen, takes_long=True)

    def roll_back(
        self,
        model: str,
        environment: str,
        *,
        reason: str,
        to: int | None = None,
        requested_by: str | None = None,
        request_id: str | None = None,
    ) -> SentPromotion:
        """Go back to what was current before, or end the rollout that is open, and return the promotion that did so or was sent back.

        Args:
            model: its name.
            environment: where.
            reason: why; it is signed and kept.
            to: the version to go back to; without one, the one that was current before.
            requested_by: who asks, where an administrator asks for somebody else.
            request_id: your name for this request; without it each call is a new one.

        Raises:
            NotFound: nothing is current there, or nothing was before.
            Conflict: the rollout ended by itself at this moment; look, and ask again.
            PromotionUnavailable: a part the judgement needs was missing; the refusal is recorded, and the same call asks anew.
        """
        about = {"model": model, "environment": environment, "to": to, "reason": reason}
        asked = checked(AskedRollback, **about, requested_by=requested_by)
        return self._write(SentPromotion, f"{BELOW}/rollback", asked, key=request_id or new_key(), takes_long=True)

    def write_card(
        self,
        model: str,
        version: int | None = None,
        *,
        description: str = "",
        tags: dict[str, str] | None = None,
        card: str = "",
        expected_revision: int | None = None,
        request_id: str | None = None,
    ) -> SentCard:
        """Write the card (Markdown) of a model, or of a version of it; those before it are kept, and what is left out is empty.

        Raises:
            NotFound: there is no such model or version.
            Outdated: the newest card is not the one of `expected_revision`; nothing is written.
        """
        text = checked(CardText, description=description, tags=tags or {}, card=card)
        seen = {} if expected_revision is None else {"If-Match": f'"{expected_revision}"'}
        return self._write(SentCard, card_path(model, version), text, key=request_id or new_key(), headers=seen, method="PUT")
