"""`/ai-infra/cards/{model}[/{version}]`: what people say about a model or a version of it; its `ETag` is the card's revision."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from aiinfra_core import cards
from aiinfra_core.domain.card import Card, CardText
from aiinfra_core.domain.record import Name
from aiinfra_core.http_api.access.identity import Registrar, Viewer
from aiinfra_core.http_api.answering import NOT_MODIFIED, IfNoneMatch, sent_unless_known
from aiinfra_core.http_api.idempotency import IdempotencyKey, IfMatch, once, sequence_seen
from aiinfra_core.http_api.problems import documented
from aiinfra_core.http_api.strict_json import StrictRoute
from aiinfra_core.wire.records import SentCard, sent_card

router = APIRouter(prefix="/ai-infra", tags=["cards"], route_class=StrictRoute)

Model = Annotated[Name, Path(description="Name of the model.", examples=["rainfall"])]
Version = Annotated[int, Path(ge=1, lt=2**31, description="Version of it.", examples=[3])]


@router.get("/cards/{model}", response_model=SentCard, responses=documented(404) | NOT_MODIFIED)
def card_of_model(request: Request, model: Model, _who: Viewer, if_none_match: IfNoneMatch = None) -> Response:
    """Return the newest card of a model."""
    return _answer(cards.card_of(request.app.state.settings, model), if_none_match)


@router.get("/cards/{model}/{version}", response_model=SentCard, responses=documented(404) | NOT_MODIFIED)
def card_of_version(request: Request, model: Model, version: Version, _who: Viewer, if_none_match: IfNoneMatch = None) -> Response:
    """Return the newest card of a version of a model."""
    return _answer(cards.card_of(request.app.state.settings, model, version), if_none_match)


@router.put("/cards/{model}", response_model=SentCard, responses=documented(404, 409, 412, 413, 415, 422))
def write_card_of_model(
    request: Request, model: Model, body: CardText, who: Registrar, key: IdempotencyKey = None, if_match: IfMatch = None
) -> Response:
    """Write a card of a model; those before it stay, and what is left out is empty."""
    return _write(request, model, None, body, who, key, if_match)


@router.put("/cards/{model}/{version}", response_model=SentCard, responses=documented(404, 409, 412, 413, 415, 422))
def write_card_of_version(
    request: Request, model: Model, version: Version, body: CardText, who: Registrar, key: IdempotencyKey = None, if_match: IfMatch = None
) -> Response:
    """Write a card of a version of a model; those before it stay, and what is left out is empty."""
    return _write(request, model, version, body, who, key, if_match)


def _write(
    request: Request, model: str, version: int | None, text: CardText, who: Registrar, key: str | None, if_match: str | None
) -> Response:
    seen, settings = sequence_seen(if_match), request.app.state.settings
    with once(request, who, key) as request_id:
        card = cards.write_card(settings, text, model=model, version=version, written_by=who.actor, seen=seen, request_id=request_id)
    return _answer(card)


def _answer(card: Card, if_none_match: str | None = None) -> Response:
    return sent_unless_known(sent_card(card).model_dump_json(by_alias=True), if_none_match, tag=str(card.revision))
