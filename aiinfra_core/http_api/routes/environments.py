"""`/ai-infra/environments`: where models are promoted to, and what is current there, with the signed manifest that made it so."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from aiinfra_core import database, routing
from aiinfra_core.domain.record import Name
from aiinfra_core.http_api.access.identity import Viewer
from aiinfra_core.http_api.answering import NOT_MODIFIED, IfNoneMatch, sent_unless_known, sent_value
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import reading
from aiinfra_core.settings import environment_named
from aiinfra_core.wire.reading import SentCurrent, SentEnvironment
from aiinfra_core.wire.routing import SentRouting

router = APIRouter(prefix="/ai-infra", tags=["environments"], route_class=StrictRoute)


@router.get("/environments", response_model=list[SentEnvironment], responses=documented())
def list_environments(request: Request, _who: Viewer) -> Response:
    """List the environments, in the order models go through them."""
    names = request.app.state.settings.environments
    return sent_value([SentEnvironment(name=name, order=order).model_dump(by_alias=True) for order, name in enumerate(names, start=1)])


@router.get("/environments/{env}/models/{name}", response_model=SentCurrent, responses=documented(404) | NOT_MODIFIED)
def get_current(
    request: Request,
    environment: Annotated[Name, Path(alias="env", description="The environment; `production` is another word for `prod`.")],
    model: Annotated[Name, Path(alias="name", description="The model.")],
    _who: Viewer,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return what is current for a model in an environment; the `ETag` is its sequence, which `If-Match` of a promotion takes."""
    settings = request.app.state.settings
    with database.autocommit(settings) as connection:
        found = reading.current(connection, environment_named(settings, environment), model)
    return sent_unless_known(reading.sent_current(found), if_none_match, tag=str(found.pointer["sequence"]))


@router.get("/environments/{env}/models/{name}/routing", response_model=SentRouting, responses=documented(404) | NOT_MODIFIED)
def get_routing(
    request: Request,
    environment: Annotated[Name, Path(alias="env", description="The environment; `production` is another word for `prod`.")],
    model: Annotated[Name, Path(alias="name", description="The model.")],
    _who: Viewer,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return where the traffic of a model in an environment goes: a signed routing and the manifests of its arms.

    The `ETag` changes whenever that does, and whenever the routing is made anew, in time before the last one expires: ask every few
    seconds with `If-None-Match`.
    """
    routed = routing.routing_of(request.app.state.settings, environment, model)
    return sent_unless_known(routed.bundle.decode(), if_none_match, tag=routed.etag)
