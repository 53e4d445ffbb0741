"""`POST /ai-infra/train`: ask for a training."""

from fastapi import APIRouter, Request, Response

from aiinfra_core import database, jobs
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.http_api.access.identity import Trainer
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.wire import SentJob, sent_job

router = APIRouter(prefix="/ai-infra", tags=["training"], route_class=StrictRoute)


@router.post("/train", status_code=201, response_model=SentJob, responses=documented(409, 413, 422))
def train(request: Request, spec: TrainingSpec, who: Trainer) -> Response:
    """Queue a training; the same request gives the same job."""
    settings = request.app.state.settings
    job_id = jobs.request_training(settings, spec, requested_by=who.actor)
    with database.autocommit(settings) as connection:
        job = recorded.get(connection, job_id)
    return Response(sent_job(job).model_dump_json(by_alias=True), 201, media_type="application/json")
