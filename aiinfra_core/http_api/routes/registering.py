"""`POST /ai-infra/register`: make stored bytes the next version of a model."""

from fastapi import APIRouter, Request, Response

from aiinfra_core import database, registering
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.errors import BadInput
from aiinfra_core.http_api.access.identity import Registrar
from aiinfra_core.http_api.idempotency import IdempotencyKey, once
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import jobs
from aiinfra_core.settings import Settings
from aiinfra_core.wire.asking import AskedRegistration
from aiinfra_core.wire.records import SentArtifact, sent_artifact

router = APIRouter(prefix="/ai-infra", tags=["registering"], route_class=StrictRoute)


@router.post("/register", status_code=201, response_model=SentArtifact, responses=documented(404, 409, 413, 415, 422))
def register(request: Request, body: AskedRegistration, who: Registrar, key: IdempotencyKey = None) -> Response:
    """Read and hash stored bytes, then record them, signed, as the next version of a model."""
    settings = request.app.state.settings
    with once(request, who, key) as request_id:
        fields = {name: getattr(body, name) for name in AskedRegistration.model_fields} | {"model": body.model or _model(settings, body)}
        asked = RegistrationRequest(**fields, registered_by=who.actor, request_id=request_id)
        artifact = registering.register(settings, asked)
    headers = {"Location": f"/ai-infra/models/{artifact.id}"}
    return Response(sent_artifact(artifact).model_dump_json(by_alias=True), 201, headers, media_type="application/json")


def _model(settings: Settings, body: AskedRegistration) -> str:
    if body.training_job_id is None:
        raise BadInput("Say which model these bytes are a version of: give model, or the trainingJobId that made them.")
    with database.autocommit(settings) as connection:
        return jobs.model_of(connection, body.training_job_id)
