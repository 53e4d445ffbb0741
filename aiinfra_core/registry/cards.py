"""What people say about models and versions: each card replaces the one before, and all of them stay."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, select

from aiinfra_core import canonical_json
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.domain.card import Card, CardText
from aiinfra_core.errors import NotFound, Outdated
from aiinfra_core.registry.requests import claim, earlier
from aiinfra_core.registry.rows import every, first, insert_row, row_by_id
from aiinfra_core.tables import model_artifacts, model_cards, models

_OPERATION = "write_card"


def newest(tx: Connection, model: str, version: int | None) -> Card | None:
    """Return the card of a model (without a version) or of a version of it, or None where none was written."""
    row = first(tx, _about(model, version).order_by(model_cards.c.revision.desc()).limit(1))
    return None if row is None else _card(row)


def history(tx: Connection, model: str, version: int | None, limit: int) -> list[Card]:
    """Return the cards written about a model or a version, newest first."""
    return [_card(row) for row in every(tx, _about(model, version).order_by(model_cards.c.revision.desc()).limit(limit))]


def write(
    tx: Connection,
    text: CardText,
    *,
    model: str,
    version: int | None,
    written_by: str,
    at: datetime,
    seen: int | None = None,
    request_id: str | None = None,
) -> Card:
    """Write a card and return it; what says the same as the newest one is that one, and the same request gives the same card.

    Args:
        tx: the transaction that writes; cards of one model are written one after the other.
        text: what is said.
        model: the model.
        version: of it; None for a card of the model.
        written_by: who says so.
        at: when (UTC).
        seen: the revision that was current for whoever writes, 0 for none; None if that does not matter.
        request_id: of the request, if it has one.

    Raises:
        NotFound: there is no such model or version.
        Outdated: another card is current than the one that was seen.
        RequestIdReused: the request id was used for another card.
    """
    body = {"model": model, "version": version, **text.model_dump(mode="json", include=set(CardText.model_fields))}
    _lock(tx, model, version)
    if request_id and (known := earlier(tx, _OPERATION, request_id, body)):
        return get(tx, known)
    before = newest(tx, model, version)
    _refuse_outdated(before, seen)
    if before is not None and _says(before) == _says(text):
        card = before
    else:
        card = _written(tx, text, before, model, version, written_by, at, request_id)
    if request_id:
        claim(tx, _OPERATION, request_id, body, card.id, at)
    return card


def get(tx: Connection, card_id: UUID) -> Card:
    """Return one card.

    Raises:
        NotFound: there is no such card.
    """
    return _card(row_by_id(tx, model_cards, card_id, "card"))


def _written(
    tx: Connection,
    text: CardText,
    before: Card | None,
    model: str,
    version: int | None,
    written_by: str,
    at: datetime,
    request_id: str | None,
) -> Card:
    at = at if before is None else max(at, before.created_at + timedelta(microseconds=1))  # a clock may go back, history must not
    row = insert_row(
        tx,
        model_cards,
        id=uuid4(),
        model=model,
        version=version,
        revision=1 if before is None else before.revision + 1,
        description=text.description,
        tags=canonical_json.dumps(text.tags).decode(),
        card=text.card,
        written_by=written_by,
        created_at=at,
    )
    subject = model if version is None else f"{model}:{version}"
    told = event(
        "card.written",
        at=at,
        actor=written_by,
        request_id=request_id or f"card:{row['id']}",
        subject=subject,
        rows={"model_cards": row},
    )
    append(tx, told)
    return _card(row)


# Whoever promotes or registers meanwhile is not held up: only the writing of another card is.
def _lock(tx: Connection, model: str, version: int | None) -> None:
    if first(tx, select(models.c.name).where(models.c.name == model).with_for_update(key_share=True)) is None:
        raise NotFound(f"There is no model {model}.")
    this = (model_artifacts.c.model == model) & (model_artifacts.c.version == version)
    if version is not None and first(tx, select(model_artifacts.c.id).where(this)) is None:
        raise NotFound(f"There is no {model}:{version}.")


def _refuse_outdated(before: Card | None, seen: int | None) -> None:
    now = 0 if before is None else before.revision
    if seen is not None and seen != now:
        raise Outdated(f"The card is at revision {now} now; look at it and write again.")


def _about(model: str, version: int | None) -> Select[Any]:
    return select(model_cards).where(model_cards.c.model == model, model_cards.c.version.is_not_distinct_from(version))


def _says(card: CardText) -> tuple[str, dict[str, str], str]:
    return card.description, card.tags, card.card


def _card(row: Mapping[str, Any]) -> Card:
    return Card.model_construct(**{**row, "tags": canonical_json.loads(row["tags"])})
