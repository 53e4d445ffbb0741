"""`POST /ai-infra/rollback`: go back to what was current before, as far as that is allowed."""

from fastapi import APIRouter, Request, Response

from aiinfra_core import rolling_back
from aiinfra_core.domain.rollout import RollbackRequest
from aiinfra_core.http_api.access.identity import Promoter
from aiinfra_core.http_api.idempotency import IdempotencyKey, once
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.routes.promoting import answer, requester_of
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.settings import environment_named
from aiinfra_core.wire.asking import AskedRollback
from aiinfra_core.wire.records import SentPromotion

router = APIRouter(prefix="/ai-infra", tags=["promoting"], route_class=StrictRoute)


@router.post("/rollback", response_model=SentPromotion, responses=documented(404, 409, 412, 413, 415, 422))
def roll_back(request: Request, body: AskedRollback, who: Promoter, key: IdempotencyKey = None) -> Response:
    """Go back to the version that was current before, or end the rollout that is open; a policy's no is an answer too.

    The answer is the promotion that goes back, or the one that was sent back where a rollout was open.
    """
    settings = request.app.state.settings
    environment = environment_named(settings, body.environment)
    who.check_in("promoter", environment)
    requester = requester_of(body, who)
    with once(request, who, key) as request_id:
        asked = RollbackRequest(
            model=body.model,
            environment=environment,
            to=body.to,
            reason=body.reason,
            requested_by=requester,
            request_id=request_id,
        )
        promotion = rolling_back.roll_back(settings, asked, asked_by=who.actor)
    return answer(request, promotion)
