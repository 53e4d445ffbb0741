"""What an executor of one's own asks: a job under a lease, heartbeats, and to record what came of it."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from aiinfra_core.client.answers import read
from aiinfra_core.client.calls import BELOW, Calls, checked, new_key, segment
from aiinfra_core.client.connection import Question, key_header
from aiinfra_core.errors import AiInfraError, BadInput, NotAllowed
from aiinfra_core.wire.executing import ClaimJob, CompleteJob, FailJob, Heartbeat, ReleaseJob, SentClaim, SentLease, SentOutcome
from aiinfra_core.wire.records import SentJob

logger = logging.getLogger(__name__)


class Executing(Calls):
    """Jobs under a lease: whoever holds it runs the job, and a lease without heartbeats goes back."""

    def claim(self, *, models: Sequence[str] = (), lease_seconds: float | None = None) -> SentClaim | None:
        """Start the oldest job that waits, perhaps only of these models, under a lease; None when nothing waits.

        A claim whose answer is lost is made again: the first job goes back when its lease ends.
        """
        body = checked(ClaimJob, models=tuple(models), lease_seconds=lease_seconds).model_dump_json(by_alias=True).encode()
        answer = self._connection.ask(Question("POST", f"{BELOW}/jobs/claim", body=body, headers=key_header(new_key())))
        return None if answer.status == 204 else read(SentClaim, answer, self._connection.url)

    def heartbeat(self, job_id: UUID | str, token: str, *, lease_seconds: float | None = None) -> SentLease:
        """Push the end of a lease on.

        Raises:
            Conflict: the lease was lost; stop the training.
        """
        asked = checked(Heartbeat, lease_token=token, lease_seconds=lease_seconds)
        return self._write(SentLease, f"{_job(job_id)}/heartbeat", asked, key=new_key())

    def release(self, job_id: UUID | str, token: str) -> SentJob:
        """Give a job back, for somebody else to run.

        Raises:
            Conflict: the lease was lost.
        """
        return self._write(SentJob, f"{_job(job_id)}/release", checked(ReleaseJob, lease_token=token), key=new_key())

    def fail(self, job_id: UUID | str, token: str, error: str, *, exit_code: int | None = None) -> SentJob:
        """Record that a training ran and failed, and why.

        Raises:
            Conflict: the lease was lost, or something else was said before.
        """
        asked = checked(FailJob, lease_token=token, error=error, exit_code=exit_code)
        return self._write(SentJob, f"{_job(job_id)}/fail", asked, key=new_key())

    def complete(self, job_id: UUID | str, token: str, *, artifact_uri: str, checksum: str, **more: Any) -> SentOutcome:
        """Record what a training made, and register it as the next version of its model; the service reads and hashes the bytes first.

        Args:
            job_id: the job.
            token: of the lease.
            artifact_uri: where the bytes are, under a root the service may read.
            checksum: their digest, in hex.
            more: `metrics`, `exit_code`, `environment`, `commit`, as `wire.CompleteJob` has them.

        Raises:
            ArtifactMissing, DigestMismatch: what is stored there is not what was named; nothing is recorded, and the lease stands.
            Conflict: the lease was lost, or something else was said before.
        """
        asked = checked(CompleteJob, lease_token=token, artifact_uri=artifact_uri, checksum=checksum, **more)
        return self._write(SentOutcome, f"{_job(job_id)}/complete", asked, key=new_key(), takes_long=True)

    @contextmanager
    def leased(self, claim: SentClaim) -> Iterator["Lease"]:
        """Keep the lease of a claimed job alive while the block runs; a block that neither completes nor fails the job gives it back.

        Raises:
            BadInput: the claim has no token.
        """
        lease = Lease(self, claim)
        beating = threading.Thread(target=lease.keep, name="heartbeat", daemon=True)
        beating.start()
        try:
            yield lease
        finally:
            lease.done.set()
            beating.join()
            lease.give_back()


class Lease:
    """A job that is ours to run; its repr does not tell the token."""

    def __init__(self, client: Executing, claim: SentClaim) -> None:
        if claim.lease.token is None:
            raise BadInput("A lease is kept with its token, which is told with the claim.")
        self._client, self._token, self._every = client, claim.lease.token, claim.lease.heartbeat_seconds
        self.job, self.lost, self.done, self._ended = claim.job, threading.Event(), threading.Event(), False

    def __repr__(self) -> str:
        return f"Lease(job={self.job.id}, lost={self.lost.is_set()})"

    def complete(self, *, artifact_uri: str, checksum: str, **more: Any) -> SentOutcome:
        """Record what the training made; see `Client.complete`."""
        outcome = self._client.complete(self.job.id, self._token, artifact_uri=artifact_uri, checksum=checksum, **more)
        self._ended = True
        return outcome

    def fail(self, error: str, *, exit_code: int | None = None) -> SentJob:
        """Record that the training failed, and why; see `Client.fail`."""
        job = self._client.fail(self.job.id, self._token, error, exit_code=exit_code)
        self._ended = True
        return job

    def keep(self) -> None:
        """Send heartbeats until `done`; `lost` is set once the lease is somebody else's."""
        while not self.done.wait(self._every):
            try:
                self._every = self._client.heartbeat(self.job.id, self._token).heartbeat_seconds
            except (BadInput, NotAllowed) as error:
                logger.warning("The lease on job %s is lost: %s", self.job.id, error)
                self.lost.set()
                return
            except AiInfraError as error:
                logger.warning("The heartbeat of job %s did not arrive: %s", self.job.id, error)

    def give_back(self) -> None:
        """Release the job if it has not ended; where that fails, the lease ends by itself."""
        if self._ended or self.lost.is_set():
            return
        try:
            self._client.release(self.job.id, self._token)
        except AiInfraError as error:
            logger.warning("Job %s could not be given back, its lease will end: %s", self.job.id, error)


def _job(job_id: UUID | str) -> str:
    return f"{BELOW}/jobs/{segment(job_id)}"
