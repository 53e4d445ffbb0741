"""`GET /ai-infra/models/{id}/reproductions`: what came out when a version's training was run again. Running it is for flows and people."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from aiinfra_core import database
from aiinfra_core.domain.reproduction import Reproduction
from aiinfra_core.http_api.access.identity import Viewer
from aiinfra_core.http_api.answering import Reference, sent_list
from aiinfra_core.http_api.paging import Paged, page
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import artifacts, reproductions
from aiinfra_core.wire.reading import SentReproduction

router = APIRouter(prefix="/ai-infra", tags=["models"], route_class=StrictRoute)


@router.get("/models/{id}/reproductions", response_model=list[SentReproduction], responses=documented(404))
def list_reproductions(request: Request, reference: Reference, wanted: Annotated[Paged, Query()], _who: Viewer) -> Response:
    """List the reproductions of a version, newest first: each with its signed outcome and the comparison file by file."""
    with database.autocommit(request.app.state.settings) as connection:
        artifact = artifacts.find(connection, reference)
        found = reproductions.of_artifact(connection, artifact.id, limit=wanted.limit + 1, after=wanted.after)
    return sent_list(*page(request, found, wanted.limit, lambda one: (one.created_at, one.id), _told))


def _told(one: Reproduction) -> str:
    return SentReproduction.model_validate(one.model_dump(exclude={"request_id"})).model_dump_json(by_alias=True)
