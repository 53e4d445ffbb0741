"""`POST /ai-infra/rollouts/{id}/observations`: what serving processes count while a rollout is open."""

from fastapi import APIRouter, Request, Response

from aiinfra_core import database
from aiinfra_core.http_api.access.identity import Reporter
from aiinfra_core.http_api.answering import sent
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.routes.rollouts import RolloutId
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import observations, rollouts
from aiinfra_core.wire.observations import AskedObservations, SentObservations

router = APIRouter(prefix="/ai-infra/rollouts", tags=["rollouts"], route_class=StrictRoute)


@router.post("/{id}/observations", response_model=SentObservations, responses=documented(404, 422))
def observe(request: Request, rollout_id: RolloutId, body: AskedObservations, who: Reporter) -> Response:
    """Take a batch of what one process observed in one step; sent again under the same name, it still counts once."""
    with database.transaction(request.app.state.settings) as tx:
        rollout = rollouts.get(tx, rollout_id)
        who.check_in("reporter", rollout.environment)
        counted = observations.take(tx, rollout, body, by=who.actor)
    return sent(SentObservations(batch=body.batch, counted=counted).model_dump_json(by_alias=True))
