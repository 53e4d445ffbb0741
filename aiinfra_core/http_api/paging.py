"""Lists in pages: `limit`, `cursor` and `offset` in the query, the address of the next page in the `Link` header.

A list is asked for with `Paged` (or a record that has its fields) as `Annotated[Paged, Query()]`; whoever reads it asks the database for
one row more than `limit` and hands all of them to `page`, which ends a page of large rows earlier. A cursor says where the last row of a
page stood, (created_at, id), so a page is found by an index and rows that came meanwhile shift nothing. What is listed, and in which
order, lives in `registry`.
"""

import base64
import math
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self, TypeVar
from uuid import UUID

from fastapi import Request
from pydantic import Field, StringConstraints, model_validator

from aiinfra_core.domain.record import Record
from aiinfra_core.errors import BadInput
from aiinfra_core.registry.listing import fitting

DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET = 50, 500, 100_000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)

Place = tuple[datetime, UUID]
"""Where a row stands in a list that is newest first: its created_at and its id."""
Row = TypeVar("Row")
Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{32}$")]


class Paged(Record):
    """Which page of a list is asked for; fields with filters are added in records that extend it."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="How many at most.")
    cursor: Cursor | None = Field(default=None, description="Where the page before ended; take it from its `Link` header as it is.")

    @property
    def after(self) -> Place | None:
        """Where the page before ended.

        Raises:
            BadInput: the cursor is none of ours.
        """
        return None if self.cursor is None else place(self.cursor)


class Skipping(Paged):
    """A page that may also be asked for by how many rows come before it, which costs the reading of those."""

    offset: int = Field(default=0, ge=0, le=MAX_OFFSET, description="How many to pass over first; a cursor is faster and goes further.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.offset and self.cursor is not None:
            raise ValueError("cursor and offset cannot be used together")
        return self


def page(
    request: Request, rows: Sequence[Row], limit: int, where: Callable[[Row], Place], told: Callable[[Row], str]
) -> tuple[Sequence[str], dict[str, str]]:
    """Return the rows of a page as JSON texts, out of up to one more than `limit`, and the headers that lead to the next page, if any."""
    shown = fitting(map(told, rows[:limit]))
    return shown, next_link(request, cursor(where(rows[len(shown) - 1]))) if len(rows) > len(shown) else {}


def next_link(request: Request, after: str, name: str = "cursor") -> dict[str, str]:
    """Return the header that leads to what comes after this page: the same query with another cursor."""
    url = request.url.remove_query_params(["offset"]).include_query_params(**{name: after})
    return {"Link": f'<{url.path}?{url.query}>; rel="next"'}


def cursor(last: tuple[datetime | float, UUID]) -> str:
    """Return the cursor of a page that ends here; in a list that is sorted by a number, that number stands for the time."""
    by, id_ = last
    first = struct.pack(">d", by) if isinstance(by, float) else struct.pack(">q", (by - _EPOCH) // _MICROSECOND)
    return base64.urlsafe_b64encode(first + id_.bytes).decode()


def place(cursor: str) -> Place:
    """Return where a cursor points.

    Raises:
        BadInput: it is none of ours.
    """
    microseconds, id_ = _read(">q16s", cursor)
    try:
        return _EPOCH + microseconds * _MICROSECOND, UUID(bytes=id_)
    except OverflowError:
        raise _not_ours() from None


def place_by_value(cursor: str) -> tuple[float, UUID]:
    """Return where a cursor points in a list that is sorted by a number.

    Raises:
        BadInput: it is none of ours.
    """
    value, id_ = _read(">d16s", cursor)
    if math.isnan(value):
        raise _not_ours()
    return value, UUID(bytes=id_)


def _read(form: str, cursor: str) -> tuple[Any, ...]:
    try:
        return struct.unpack(form, base64.urlsafe_b64decode(cursor))
    except (struct.error, ValueError):
        raise _not_ours() from None


def _not_ours() -> BadInput:
    return BadInput("This cursor is not one of a Link header; begin again without one.")
