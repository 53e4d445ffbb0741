"""`GET /ai-infra/promotions[/{id}]`: what was asked for, and how it was decided; asking for one is in `promoting`."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import AwareDatetime, Field

from aiinfra_core import database
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.record import Actor, Name
from aiinfra_core.http_api.access.identity import Viewer
from aiinfra_core.http_api.answering import NOT_MODIFIED, IfNoneMatch, sent_list, sent_unless_known
from aiinfra_core.http_api.paging import Paged, cursor, next_link
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.registry import listing, reading
from aiinfra_core.registry.search import PROMOTIONS
from aiinfra_core.settings import Settings, environment_named
from aiinfra_core.wire.decisions import SentPromotionDetails
from aiinfra_core.wire.records import SentPromotion

router = APIRouter(prefix="/ai-infra", tags=["promotions"], route_class=StrictRoute)


class PromotionSearch(Paged):
    """What a promotion must be, all of it at once."""

    model: Name | None = Field(default=None, description="The model it is about.")
    environment: Name | None = Field(default=None, description="Where it was to become current.")
    status: PromotionStatus | None = Field(default=None, description="Where it stands.")
    artifact_id: UUID | None = Field(default=None, description="The artifact it is about.")
    requested_by: Actor | None = Field(default=None, description="Who asked for it.")
    created_after: AwareDatetime | None = Field(default=None, description="When it was asked for, or later.")
    created_before: AwareDatetime | None = Field(default=None, description="It was asked for before this.")

    def filters(self, settings: Settings) -> dict[str, Any]:
        """Return what was asked for as `search.PROMOTIONS` names it.

        Raises:
            NotFound: there is no such environment.
        """
        own = self.model_fields_set - Paged.model_fields.keys()
        wanted = {name: getattr(self, name) for name in own if getattr(self, name) is not None}
        return wanted | ({"environment": environment_named(settings, wanted["environment"])} if "environment" in wanted else {})


@router.get("/promotions", response_model=list[SentPromotion], responses=documented(404))
def list_promotions(request: Request, wanted: Annotated[PromotionSearch, Query()], _who: Viewer) -> Response:
    """List promotions that match, newest first.

    Where few match several filters at once, a page may be short and yet lead to a next one: follow `Link` until there is none.
    """
    settings = request.app.state.settings
    filters = wanted.filters(settings)
    with database.autocommit(settings) as connection:
        page = listing.read(connection, PROMOTIONS, filters, limit=wanted.limit, after=wanted.after)
    return sent_list(page.documents, next_link(request, cursor(page.ends_at)) if page.ends_at else {})


@router.get("/promotions/{id}", response_model=SentPromotionDetails, responses=documented(404) | NOT_MODIFIED)
def get_promotion(
    request: Request,
    promotion_id: Annotated[UUID, Path(alias="id", description="Its id.")],
    _who: Viewer,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Return one promotion and what every gate said about it."""
    with database.autocommit(request.app.state.settings) as connection:
        document = reading.promotion(connection, promotion_id)
    return sent_unless_known(document, if_none_match)
