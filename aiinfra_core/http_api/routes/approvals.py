"""`/ai-infra/promotions/{id}/…`: who agreed, agree, take that back, and the page that shows an approver what they would agree to."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from aiinfra_core import approving, awaiting, database
from aiinfra_core.approving.statements import Vouched, check_own
from aiinfra_core.domain.approval import DEBUG_TOKEN
from aiinfra_core.errors import NotFound
from aiinfra_core.http_api import approval_page
from aiinfra_core.http_api.access.identity import Approver, Identity, PublicInDevelopment, Viewer
from aiinfra_core.http_api.answering import sent
from aiinfra_core.http_api.idempotency import IdempotencyKey, once
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import approvals, promotions
from aiinfra_core.settings import Settings
from aiinfra_core.wire.approvals import AskedApproval, AskedWithdrawal, SentAgreement, SentApprovals

router = APIRouter(prefix="/ai-infra/promotions/{id}", tags=["promotions"], route_class=StrictRoute)

PromotionId = Annotated[UUID, Path(alias="id", description="The promotion.")]
ApprovalId = Annotated[UUID, Path(alias="approvalId", description="The approval.")]
_AS_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


@router.post("/approvals", response_model=SentAgreement, responses=documented(404, 409, 412))
def approve(request: Request, promotion_id: PromotionId, body: AskedApproval, who: Approver, key: IdempotencyKey = None) -> Response:
    """Agree to exactly the manifest you saw; the approval that was missing carries the promotion on. Given again, it is the same one."""
    settings = request.app.state.settings
    vouched = _vouched(settings, promotion_id, who)
    _check_own(body.envelope_base64, who)
    with once(request, who, key):
        approval, _ = approving.approve(
            settings,
            promotion_id,
            manifest=body.manifest,
            envelope=body.envelope_base64,
            identity=vouched if body.envelope_base64 is None else None,
            comment=body.comment,
        )
    return _agreement(settings, promotion_id, approval.id)


@router.get("/approvals", response_model=SentApprovals, responses=documented(404))
def list_approvals(request: Request, promotion_id: PromotionId, _who: Viewer) -> Response:
    """Return what a promotion waits for, the signed manifest that approvals of it are about, and those that were given."""
    settings = request.app.state.settings
    return sent(awaiting.approvals_of(settings, promotion_id).model_dump_json(by_alias=True))


@router.post("/approvals/{approvalId}/withdraw", response_model=SentAgreement, responses=documented(404, 409))
def withdraw(
    request: Request,
    promotion_id: PromotionId,
    approval_id: ApprovalId,
    body: AskedWithdrawal,
    who: Approver,
    key: IdempotencyKey = None,
) -> Response:
    """Take an approval of yours back, as long as its promotion is not applied."""
    settings = request.app.state.settings
    vouched = _vouched(settings, promotion_id, who)
    with database.autocommit(settings) as connection:
        if approvals.get(connection, approval_id).approval.promotion_id != promotion_id:
            raise NotFound(f"Promotion {promotion_id} has no approval {approval_id}.")
    envelope = body.envelope_base64
    _check_own(envelope, who)
    with once(request, who, key):
        approving.withdraw(settings, approval_id, envelope=envelope, identity=vouched if envelope is None else None, reason=body.reason)
    return _agreement(settings, promotion_id, approval_id)


@router.get("/page", response_class=Response, responses=documented(404) | _AS_PAGE)
def get_page(request: Request, promotion_id: PromotionId, _who: PublicInDevelopment) -> Response:
    """Show an approver what they would agree to: a page of HTML that needs nothing else and runs nothing."""
    settings = request.app.state.settings
    page = approval_page.page(*awaiting.story_of(settings, promotion_id), settings.public_url or str(request.base_url))
    return Response(page, 200, approval_page.HEADERS, media_type="text/html")


def _vouched(settings: Settings, promotion_id: UUID, who: Identity) -> Vouched:
    with database.autocommit(settings) as connection:
        promotion = promotions.get(connection, promotion_id)
    return Vouched(who.actor, who.approves_as(promotion.environment, promotion.approvals_required or ()), who.issuer)


# With the debug token one developer plays several people, and only in development.
def _check_own(envelope: bytes | None, who: Identity) -> None:
    if envelope is not None and who.issuer != DEBUG_TOKEN:
        check_own(envelope, who.actor)


def _agreement(settings: Settings, promotion_id: UUID, approval_id: UUID) -> Response:
    return sent(awaiting.agreement(settings, promotion_id, approval_id).model_dump_json(by_alias=True))
