"""How the rooms of the client ask: a read, a write under its request id, a list in pages."""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from aiinfra_core.client.answers import next_page, not_ours, read, refuse_problem
from aiinfra_core.client.connection import Connection, Question, key_header
from aiinfra_core.errors import BadInput

T = TypeVar("T")
Checked = TypeVar("Checked", bound=BaseModel)
BELOW = "/ai-infra"
_SPELLED = {"at_least": "min", "at_most": "max", "from_size": "from", "to_size": "to", "event_type": "type"}


class Calls:
    """Something that can ask a service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _read(self, kind: type[T], path: str, params: Mapping[str, Any] | None = None, *, takes_long: bool = False) -> T:
        return read(kind, self._connection.ask(Question("GET", path, params or {}, takes_long=takes_long)), self._connection.url)

    def _write(
        self,
        kind: type[T],
        path: str,
        body: BaseModel | Mapping[str, Any],
        *,
        key: str | None,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
        takes_long: bool = False,
    ) -> T:
        """Send a write; every attempt carries the same key. Without one the service names the request after what it asks for."""
        named = {} if key is None else key_header(key)
        question = Question(method, path, body=_json(body), headers={**named, **(headers or {})}, takes_long=takes_long)
        return read(kind, self._connection.ask(question), self._connection.url)

    def _pages(self, kind: type[T], path: str, params: Mapping[str, Any]) -> Iterator[T]:
        """Give what a list holds, page after page; only the query is taken from a link, so that nobody sends us elsewhere."""
        query: Mapping[str, Any] | None = params
        while query is not None:
            answer = self._connection.ask(Question("GET", path, query))
            refuse_problem(answer, self._connection.url)
            found: tuple[T, ...] = read(tuple[kind, ...], answer, self._connection.url)  # type: ignore[valid-type]
            yield from found
            following = next_page(answer)
            if following is not None and following == dict(httpx.QueryParams(_given(query))):
                raise not_ours(self._connection.url, "the next page of its list is the same page")
            query = following


def checked(kind: type[Checked], **fields: Any) -> Checked:
    """Make a record of what was given.

    Raises:
        BadInput: something is missing or wrong; the message names it.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False))
        raise BadInput(f"This cannot be asked: {wrong}.") from None


def query(**fields: Any) -> dict[str, Any]:
    """Return what was given as the query spells it."""
    return {_SPELLED.get(name, to_camel(name)): _text(value) for name, value in fields.items() if value is not None}


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def segment(value: object) -> str:
    """Return a value as one part of a path."""
    return quote(str(value), safe="")


def new_key() -> str:
    """Return a request id that nobody used before."""
    return uuid4().hex


def _json(body: BaseModel | Mapping[str, Any]) -> bytes:
    if isinstance(body, BaseModel):
        return body.model_dump_json(by_alias=True, exclude_unset=True).encode()  # an older service knows no newer fields
    return json.dumps(body).encode()


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
