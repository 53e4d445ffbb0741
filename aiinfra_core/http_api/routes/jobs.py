"""Training jobs: looking at them, and running them as an executor that is not ours, under a lease."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from aiinfra_core import database, prefect_runs
from aiinfra_core.domain.record import Name
from aiinfra_core.domain.training import JobStatus, TrainingJob
from aiinfra_core.http_api.access.identity import Executor, Viewer
from aiinfra_core.http_api.answering import sent_list
from aiinfra_core.http_api.paging import Paged, Place, page
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.registry import leases
from aiinfra_core.registry.jobs import Wanted
from aiinfra_core.running import executors
from aiinfra_core.running.work import BEATS_PER_LEASE
from aiinfra_core.wire.executing import (
    ClaimJob,
    CompleteJob,
    FailJob,
    Heartbeat,
    ReleaseJob,
    SentClaim,
    SentJobDetails,
    SentLease,
    SentOutcome,
    sent_job_details,
)
from aiinfra_core.wire.records import SentJob, sent_artifact, sent_job

router = APIRouter(prefix="/ai-infra", tags=["jobs"], route_class=StrictRoute)


class Asked(Paged):
    """Which jobs are listed; what is not named does not matter."""

    status: JobStatus | None = None
    model: Name | None = None
    code_ref: str | None = Field(default=None, max_length=2048, description="Exactly this code.", pattern=r"^[^\x00-\x1f\x7f]*$")
    since: AwareDatetime | None = Field(default=None, description="Only jobs that were asked for then or later.")
    until: AwareDatetime | None = Field(default=None, description="Only jobs that were asked for before.")


@router.get("/jobs", response_model=list[SentJob], responses=documented())
def list_jobs(request: Request, asked: Annotated[Asked, Query()], _who: Viewer) -> Response:
    """List training jobs, newest first."""
    wanted = Wanted(status=asked.status, model=asked.model, code_ref=asked.code_ref, since=asked.since, until=asked.until)
    with database.autocommit(request.app.state.settings) as connection:
        found = recorded.newest(connection, wanted, limit=asked.limit + 1, after=asked.after)
        known = leases.of_jobs(connection, [job.id for job in found])

    def told(job: TrainingJob) -> str:
        return sent_job(job, known[job.id].flow_run_id if job.id in known else None).model_dump_json(by_alias=True)

    return sent_list(*page(request, found, asked.limit, _place, told))


@router.get("/jobs/{job_id}", response_model=SentJobDetails, responses=documented(404))
def show_job(request: Request, job_id: UUID, _who: Viewer) -> Response:
    """Show a training job and who runs it."""
    settings = request.app.state.settings
    with database.autocommit(settings) as connection:
        job, lease = recorded.get(connection, job_id), leases.of_job(connection, job_id)
    run = prefect_runs.address_of(settings, lease.flow_run_id) if lease and lease.flow_run_id else None
    return _sent(sent_job_details(job, lease, run))


@router.post("/jobs/claim", response_model=SentClaim, responses={204: {"description": "No job waits."}, **documented(413, 415)})
def claim_job(request: Request, asked: ClaimJob, who: Executor) -> Response:
    """Start the oldest job that waits, under a lease; without a heartbeat in time the job goes back."""
    settings = request.app.state.settings
    claimed = executors.claim(settings, asked, by=who.actor)
    if claimed is None:
        return Response(status_code=204)
    lease = _lease(claimed.expires_at, asked.lease_seconds or settings.lease_seconds, claimed.token)
    return _sent(SentClaim.model_construct(job=sent_job(claimed.job), lease=lease))


@router.post("/jobs/{job_id}/heartbeat", response_model=SentLease, responses=documented(404, 409, 413, 415))
def heartbeat(request: Request, job_id: UUID, asked: Heartbeat, who: Executor) -> Response:
    """Push the end of a lease on; 409 says that it was lost and the training must stop."""
    pushed = executors.heartbeat(request.app.state.settings, job_id, asked, by=who.actor)
    return _sent(_lease(pushed.expires_at, pushed.seconds))


@router.post("/jobs/{job_id}/release", response_model=SentJob, responses=documented(404, 409, 413, 415))
def release_job(request: Request, job_id: UUID, asked: ReleaseJob, who: Executor) -> Response:
    """Give a job back, for somebody else to run."""
    return _sent(sent_job(executors.release(request.app.state.settings, job_id, asked.lease_token, by=who.actor)))


@router.post("/jobs/{job_id}/fail", response_model=SentJob, responses=documented(404, 409, 413, 415))
def fail_job(request: Request, job_id: UUID, asked: FailJob, who: Executor) -> Response:
    """Record that a training ran and failed."""
    return _sent(sent_job(executors.fail(request.app.state.settings, job_id, asked, by=who.actor)))


@router.post("/jobs/{job_id}/complete", response_model=SentOutcome, responses=documented(404, 409, 413, 415, 422))
def complete_job(request: Request, job_id: UUID, asked: CompleteJob, who: Executor) -> Response:
    """Record what a training made, once its bytes were read and hashed, and register it as the next version of its model."""
    job, artifact = executors.complete(request.app.state.settings, job_id, asked, by=who.actor)
    return _sent(SentOutcome.model_construct(job=sent_job(job), artifact=sent_artifact(artifact)))


def _lease(expires_at: datetime, seconds: float, token: str | None = None) -> SentLease:
    return SentLease.model_construct(token=token, expires_at=expires_at, heartbeat_seconds=seconds / BEATS_PER_LEASE)


def _place(job: TrainingJob) -> Place:
    return job.created_at, job.id


def _sent(record: BaseModel) -> Response:
    return Response(record.model_dump_json(by_alias=True), media_type="application/json")
