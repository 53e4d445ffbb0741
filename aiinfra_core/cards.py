"""Read and write what people say about models and versions of them: descriptions, tags and model cards. Nothing is rendered here."""

from datetime import UTC, datetime

from aiinfra_core import database
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.actor import checked_actor
from aiinfra_core.domain.card import Card, CardText
from aiinfra_core.errors import NotFound
from aiinfra_core.keys import audit_signer
from aiinfra_core.registry import cards
from aiinfra_core.settings import Settings


def card_of(settings: Settings, model: str, version: int | None = None) -> Card:
    """Return the newest card of a model, or of a version of it.

    Raises:
        NotFound: none was written.
    """
    with database.autocommit(settings) as connection:
        found = cards.newest(connection, model, version)
    if found is None:
        raise NotFound(f"Nobody has written a card of {model if version is None else f'{model}:{version}'}.")
    return found


def write_card(
    settings: Settings,
    text: CardText,
    *,
    model: str,
    version: int | None = None,
    written_by: str,
    seen: int | None = None,
    request_id: str | None = None,
) -> Card:
    """Write a card; see `registry.cards.write`.

    Raises:
        BadInput: who asks cannot be recorded.
        NotFound: there is no such model or version.
        Outdated: another card is current than the one that was seen.
        RequestIdReused: the request id was used for another card.
    """
    written_by = checked_actor(written_by)
    audit_signer(settings)  # whoever may not sign the event of a change must not make the change
    with database.transaction(settings) as tx:
        card = cards.write(
            tx, text, model=model, version=version, written_by=written_by, at=datetime.now(UTC), seen=seen, request_id=request_id
        )
    keep_up(settings)
    return card
