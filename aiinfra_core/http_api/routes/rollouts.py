"""`/ai-infra/rollouts`: what is being rolled out and was, by which looks, the page that shows it, and what people may order."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from aiinfra_core import database, rolling_out
from aiinfra_core.domain.record import Name, Record
from aiinfra_core.domain.rollout import Action
from aiinfra_core.http_api import rollout_page
from aiinfra_core.http_api.access.identity import Identity, Promoter, PublicInDevelopment, Viewer
from aiinfra_core.http_api.answering import sent, sent_list
from aiinfra_core.http_api.idempotency import IdempotencyKey, once
from aiinfra_core.http_api.paging import Paged, next_link, page
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import rollout_views
from aiinfra_core.registry.listing import fitting
from aiinfra_core.settings import environment_named
from aiinfra_core.wire.rollouts import AskedAdvance, AskedOrder, SentRollout, SentRolloutDetails

router = APIRouter(prefix="/ai-infra/rollouts", tags=["rollouts"], route_class=StrictRoute)

RolloutId = Annotated[UUID, Path(alias="id", description="The rollout.")]
_AS_PAGE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


class RolloutSearch(Paged):
    """What a rollout must be, all of it at once."""

    environment: str | None = Field(default=None, min_length=1, max_length=128, description="Where it is.")
    model: Name | None = Field(default=None, description="The model it is about.")
    open: bool = Field(default=False, description="Only those that have not ended.")


class WantedLooks(Record):
    """Which looks are to come with a rollout."""

    after: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="Number of the last look seen, 0 for none: those after it follow, in order."
    )
    limit: int = Field(default=rollout_views.MOST_LOOKS, ge=1, le=1000, description="How many looks at most.")


@router.get("", response_model=list[SentRollout], responses=documented(404))
def list_rollouts(request: Request, wanted: Annotated[RolloutSearch, Query()], _who: Viewer) -> Response:
    """List rollouts that match, newest first."""
    settings = request.app.state.settings
    environment = environment_named(settings, wanted.environment) if wanted.environment else None
    with database.autocommit(settings) as connection:
        found = rollout_views.newest(
            connection,
            environment=environment,
            model=wanted.model,
            only_open=wanted.open,
            limit=wanted.limit + 1,
            after=wanted.after,
        )
    shown, headers = page(
        request, found, wanted.limit, lambda one: (one.created_at, one.id), lambda one: one.model_dump_json(by_alias=True)
    )
    return sent_list(shown, headers)


@router.get("/{id}", response_model=SentRolloutDetails, responses=documented(404))
def get_rollout(request: Request, rollout_id: RolloutId, wanted: Annotated[WantedLooks, Query()], _who: Viewer) -> Response:
    """Return a rollout with its orders and looks; with `after`, the looks that follow, page by page."""
    with database.snapshot(request.app.state.settings) as tx:
        shown = _fitting(tx, rollout_id, wanted.after, wanted.limit)
    last = shown.looks[-1].number if shown.looks else None
    goes_on = wanted.after is not None and last is not None and last < shown.rollout.looks
    return sent(shown.model_dump_json(by_alias=True), next_link(request, str(last), "after") if goes_on else {})


@router.get("/{id}/page", response_class=Response, responses=documented(404) | _AS_PAGE)
def get_rollout_page(request: Request, rollout_id: RolloutId, _who: PublicInDevelopment) -> Response:
    """Show a rollout with the plot of its evidence: a page of HTML that needs nothing else and runs nothing."""
    settings = request.app.state.settings
    with database.snapshot(settings) as tx:
        found = rollout_views.details(tx, rollout_id, limit=rollout_page.MOST_LOOKS_IN_PLOT)
    shown = rollout_page.page(found, datetime.now(UTC), settings.public_url or str(request.base_url))
    return Response(shown, 200, rollout_page.HEADERS, media_type="text/html")


@router.post("/{id}/pause", response_model=SentRollout, responses=documented(404, 409, 422))
def pause_rollout(request: Request, rollout_id: RolloutId, body: AskedOrder, who: Promoter, key: IdempotencyKey = None) -> Response:
    """Keep a rollout from advancing; it is still looked at, and still goes back."""
    return _ordered(request, rollout_id, Action.PAUSE, body, who, key)


@router.post("/{id}/resume", response_model=SentRollout, responses=documented(404, 409, 422))
def resume_rollout(request: Request, rollout_id: RolloutId, body: AskedOrder, who: Promoter, key: IdempotencyKey = None) -> Response:
    """Let a paused rollout advance again."""
    return _ordered(request, rollout_id, Action.RESUME, body, who, key)


@router.post("/{id}/advance", response_model=SentRollout, responses=documented(404, 409, 412, 422))
def advance_rollout(request: Request, rollout_id: RolloutId, body: AskedAdvance, who: Promoter, key: IdempotencyKey = None) -> Response:
    """Give the challenger the traffic of the next step without waiting for evidence; at the last step it becomes current.

    It is looked at first: what ends by that look is 409. Where people had to agree to the promotion, whoever asked for it may not (403).
    """
    return _ordered(request, rollout_id, Action.ADVANCE, body, who, key, step=body.step)


@router.post("/{id}/abort", response_model=SentRollout, responses=documented(404, 409, 422))
def abort_rollout(request: Request, rollout_id: RolloutId, body: AskedOrder, who: Promoter, key: IdempotencyKey = None) -> Response:
    """End a rollout: all traffic returns to what is current; its promotion is rejected with your reason."""
    return _ordered(request, rollout_id, Action.ABORT, body, who, key)


# Looks in their order end earlier where they grow too large; of looks from the whole rollout fewer are chosen then.
def _fitting(tx: Connection, rollout_id: UUID, after: int | None, limit: int) -> SentRolloutDetails:
    found = rollout_views.details(tx, rollout_id, after=after, limit=limit)
    fits = len(fitting(one.model_dump_json(by_alias=True) for one in found.looks))
    if after is None and fits < len(found.looks) and limit > 1:
        return _fitting(tx, rollout_id, after, limit // 2)
    return found.model_copy(update={"looks": found.looks[:fits]})


def _ordered(
    request: Request, rollout_id: UUID, action: Action, body: AskedOrder, who: Identity, key: str | None, step: int | None = None
) -> Response:
    settings = request.app.state.settings
    with database.autocommit(settings) as connection:
        who.check_in("promoter", rollout_views.get(connection, rollout_id).environment)
    with once(request, who, key) as request_id:
        about = {"reason": body.reason, "ordered_by": who.actor, "issuer": who.issuer}
        rolling_out.order(settings, rollout_id, action, **about, step=step, request_id=request_id)
    with database.autocommit(settings) as connection:
        return sent(rollout_views.get(connection, rollout_id).model_dump_json(by_alias=True))
