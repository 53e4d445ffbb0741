"""`POST /ai-infra/train`: ask for a training."""

import re
import secrets

from fastapi import APIRouter, Request, Response

from aiinfra_core import checksums, database, jobs, running
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.training import JobStatus, TrainingJob, TrainingSpec
from aiinfra_core.http_api.access.identity import Trainer
from aiinfra_core.http_api.idempotency import IdempotencyKey, once
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.wire.asking import AskedTraining
from aiinfra_core.wire.records import SentJob, sent_job

router = APIRouter(prefix="/ai-infra", tags=["training"], route_class=StrictRoute)

_REVISION = re.compile(r"@[0-9a-f]{40}$")


@router.post("/train", status_code=201, response_model=SentJob, responses=documented(409, 413, 415, 422))
def train(request: Request, body: AskedTraining, who: Trainer, key: IdempotencyKey = None) -> Response:
    """Queue a training and answer the job as it was queued."""
    settings = request.app.state.settings
    with once(request, who, key) as request_id:
        job_id = jobs.request_training(settings, _spec(body, request_id), requested_by=who.actor, request_id=request_id)
        with database.autocommit(settings) as connection:
            job = recorded.get(connection, job_id)
        keep_up(settings)
        running.hand_over(settings, job_id)
    headers = {"Location": f"/ai-infra/jobs/{job_id}"}
    return Response(sent_job(_as_queued(job)).model_dump_json(by_alias=True), 201, headers, media_type="application/json")


def model_of(code_ref: str) -> str:
    """Return the model's name that a code reference ends in, made to fit; `default` where nothing is left of it."""
    last = re.split("[/:]", _REVISION.sub("", code_ref).rstrip("/"))[-1].removesuffix(".git").lower()
    return re.sub("[^a-z0-9._-]+", "-", last).lstrip("._-")[:128] or "default"


def _spec(body: AskedTraining, request_id: str | None) -> TrainingSpec:
    fields = {name: getattr(body, name) for name in AskedTraining.model_fields}
    seed = _drawn_seed(request_id) if body.seed is None else body.seed
    return TrainingSpec(**fields | {"model": body.model or model_of(body.code_ref), "seed": seed})


# A request that is sent again must ask for the same training, so its seed is drawn from its name.
def _drawn_seed(request_id: str | None) -> int:
    return secrets.randbits(32) if request_id is None else int(checksums.sha256_hex(f"seed {request_id}".encode())[:8], 16)


def _as_queued(job: TrainingJob) -> TrainingJob:
    kept = {name: getattr(job, name) for name in ("id", "request_id", "spec", "requested_by", "created_at")}
    return TrainingJob(**kept, status=JobStatus.QUEUED, updated_at=job.created_at)
