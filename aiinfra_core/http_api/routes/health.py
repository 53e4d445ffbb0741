"""`/health`, `/livez` and `/readyz`: for those who start, stop and watch the service; everybody may ask, and nobody waits long."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response

from aiinfra_core.http_api.readiness import OK, Readiness
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.wire.states import SentAlive, SentHealth, SentReadiness

router = APIRouter(tags=["health"], route_class=StrictRoute)

_ALIVE = '{"status":"ok"}'
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": SentReadiness, "description": "A part it needs is not there"}}


@router.get("/health", response_model=SentHealth)
async def health() -> Response:
    """Tell that the service is alive, as the service this one replaces did."""
    return Response(_ALIVE, media_type="application/json")


@router.get("/livez", response_model=SentAlive)
async def livez() -> Response:
    """Tell that the process answers, and its clock; whoever gets no answer should start it again."""
    body = SentAlive(status="ok", time=datetime.now(UTC))
    return Response(body.model_dump_json(), 200, {"Cache-Control": "no-store"}, media_type="application/json")


@router.get("/readyz", response_model=SentReadiness, responses=_NOT_READY)
async def readyz(request: Request) -> Response:
    """Tell whether every part the service needs is there: the database, its migrations, the signer and the store."""
    state = request.app.state
    if not hasattr(state, "readiness"):
        state.readiness = Readiness(state.settings)
    parts = await state.readiness.parts()
    ready = set(parts.values()) == {OK}
    body = SentReadiness(status="ok" if ready else "unavailable", parts=parts)
    return Response(body.model_dump_json(), 200 if ready else 503, {"Cache-Control": "no-store"}, media_type="application/json")
