"""`POST /ai-infra/promote`: make a registered artifact current in an environment, as far as that is allowed."""

from fastapi import APIRouter, Request, Response

from aiinfra_core import promoting
from aiinfra_core.domain.promotion import Promotion, PromotionRequest, PromotionStatus
from aiinfra_core.errors import Forbidden
from aiinfra_core.http_api import problems
from aiinfra_core.http_api.access.identity import Identity, Promoter
from aiinfra_core.http_api.idempotency import IdempotencyKey, IfMatch, etag, once, sequence_seen
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.settings import environment_named
from aiinfra_core.wire.asking import AskedPromotion, AskedRollback
from aiinfra_core.wire.records import SentPromotion, sent_promotion

router = APIRouter(prefix="/ai-infra", tags=["promoting"], route_class=StrictRoute)

_UNAVAILABLE = "unavailable:"


@router.post("/promote", response_model=SentPromotion, responses=documented(404, 409, 412, 413, 415, 422))
def promote(request: Request, body: AskedPromotion, who: Promoter, key: IdempotencyKey = None, if_match: IfMatch = None) -> Response:
    """Verify, judge, sign and apply a promotion, or let it earn its traffic first; a policy's no is an answer too, and is recorded."""
    settings = request.app.state.settings
    environment = environment_named(settings, body.environment)
    who.check_in("promoter", environment)
    requester = requester_of(body, who)
    with once(request, who, key) as request_id:
        asked = PromotionRequest(
            artifact=str(body.artifact_id),
            environment=environment,
            evaluation=body.evaluation,
            judged_on=body.judged_on,
            requested_by=requester,
            request_id=request_id,
            sequence_seen=sequence_seen(if_match),
            rollout=body.rollout,
            overrides=body.overrides,
        )
        promotion = promoting.promote(settings, asked, asked_by=who.actor)
    return answer(request, promotion)


def requester_of(body: AskedPromotion | AskedRollback, who: Identity) -> str:
    """Return who asks: whoever proved to, or whom an administrator names.

    Raises:
        Forbidden: somebody else names somebody else.
    """
    if body.requested_by in (None, who.actor) or who.may("admin"):
        return body.requested_by or who.actor
    raise Forbidden(f"requestedBy must be you, {who.actor}, or be left out; only an administrator may ask for somebody else.")


def answer(request: Request, promotion: Promotion) -> Response:
    """Return how a promotion ended; one that could not be judged is a problem that holds it."""
    sent = sent_promotion(promotion)
    reason = promotion.reason or ""
    if promotion.status is PromotionStatus.REJECTED and reason.startswith(_UNAVAILABLE):
        part = reason.removeprefix(_UNAVAILABLE).partition(" ")[0]
        return problems.problem(request, 503, reason, {"Retry-After": "5"}, code="unavailable", part=part, promotion=sent)
    headers = {"ETag": etag(sent.sequence)} if promotion.status is PromotionStatus.APPLIED else None
    return Response(sent.model_dump_json(by_alias=True), 200, headers, media_type="application/json")
