"""`/ai-infra/models/{id}/scan`: whether loading a version would run code that somebody put into it."""

from fastapi import APIRouter, Request, Response

from aiinfra_core import database
from aiinfra_core.errors import NotFound
from aiinfra_core.http_api.access.identity import Viewer
from aiinfra_core.http_api.answering import Reference, sent
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import artifacts, scans
from aiinfra_core.wire.scans import SentScan, sent_scan

router = APIRouter(prefix="/ai-infra/models/{id}", tags=["models"], route_class=StrictRoute)


@router.get("/scan", response_model=SentScan, responses=documented(404))
def get_scan(request: Request, reference: Reference, _who: Viewer) -> Response:
    """Return what the newest scan of a version found; those before it are among its signed statements."""
    with database.autocommit(request.app.state.settings) as connection:
        artifact = artifacts.find(connection, reference)
        scan = scans.newest(connection, artifact.id)
    if scan is None:
        raise NotFound(
            f"{artifact.model}:{artifact.version} was never scanned; do it with: aiinfra scan {artifact.model}:{artifact.version}"
        )
    return sent(sent_scan(scan).model_dump_json(by_alias=True))
