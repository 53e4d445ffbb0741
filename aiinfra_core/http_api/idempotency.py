"""`Idempotency-Key` and `If-Match`: the same request under the same key is done once, and a write can say what it saw.

A key becomes a request id of its actor; that it is done once is the business of the rows in `request_ids`. What lives here besides
is a courtesy: a second one at the same time is told so at once, instead of waiting for the first.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Header, Request

from aiinfra_core import checksums, database
from aiinfra_core.errors import BadInput, Conflict, InFlight, RequestIdReused
from aiinfra_core.http_api.access.identity import Identity

_ETAG = re.compile(r'"(0|[1-9][0-9]{0,17})"')

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,128}$",
        description="Your name for this request: sent again with the same key and body, it is done once and answered the same.",
        examples=["train-rainfall-2026-11"],
    ),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        pattern=r'^"(0|[1-9][0-9]{0,17})"$',
        description='The `ETag` of what you saw to be current there, `"0"` for nothing; if it has changed, nothing is done.',
        examples=['"3"'],
    ),
]


@contextmanager
def once(request: Request, who: Identity, key: str | None) -> Iterator[str | None]:
    """Give the request id of a key, None without one; while the block runs, the same request is refused elsewhere.

    Raises:
        InFlight: the same request is being carried out.
        RequestIdReused: the key was used for another request.
        Conflict: without a key, the same thing was asked for before in other words.
        Unavailable: the database cannot be reached.
    """
    if key is None:
        with _said_without_a_key():
            yield None
        return
    request_id = request_id_of(who, key)
    with database.lock_of_process(request.app.state.settings, lock_key(request.scope["path"], request_id)) as free:
        if not free:
            raise InFlight("A request with this Idempotency-Key is being carried out; ask again in a moment.")
        with _said_of_a_key():
            yield request_id


def sequence_seen(if_match: str | None) -> int | None:
    """Return the sequence an `If-Match` names.

    Raises:
        BadInput: it is not one strong entity tag of a pointer.
    """
    if if_match is None:
        return None
    found = _ETAG.fullmatch(if_match)
    if found is None:
        raise BadInput('If-Match must be the ETag of what is current, such as "3", or "0" where nothing is.')
    return int(found[1])


def etag(sequence: int) -> str:
    """Return the entity tag of a pointer."""
    return f'"{sequence}"'


def request_id_of(who: Identity, key: str) -> str:
    """Return the request id of a key; the same key of another actor is another request."""
    return f"{checksums.sha256_hex(who.actor.encode())[:16]}/{key}"


def lock_key(path: str, request_id: str) -> int:
    """Return the advisory lock of a request while it is carried out."""
    digest = hashlib.sha256(f"{path} {request_id}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


@contextmanager
def _said_of_a_key() -> Iterator[None]:
    try:
        yield
    except RequestIdReused as error:
        raise RequestIdReused("This Idempotency-Key was used before for another request; choose a new one.") from error


@contextmanager
def _said_without_a_key() -> Iterator[None]:
    try:
        yield
    except RequestIdReused as error:
        raise Conflict(
            "The same was asked for before with other details, or by somebody else; give an Idempotency-Key of your own to do it again."
        ) from error
