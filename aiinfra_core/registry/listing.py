"""Lists that an index answers, page by page, in a time that does not grow with the table.

A list is walked in the order of one index, and what else was asked for is tested row by row. A page looks at no more than
`MOST_LOOKED_AT` rows, and ends where its documents grow larger than `MOST_BYTES`: it is short then and says where to go on. Which lists
there are lives in `search`; what a row is sent as, in `as_sent`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Table, Text, bindparam, cast, literal, select, true, tuple_

MOST_LOOKED_AT = 5_000
MOST_BYTES = 4 * 2**20
"""How large the documents of a page may be together; one that is larger alone is a page."""
CREATED_AFTER, CREATED_BEFORE = "created_after", "created_before"
_TIMES = frozenset({CREATED_AFTER, CREATED_BEFORE})

Place = tuple[datetime | float, UUID]
"""Where a row stands in a list: what the list is sorted by, and the row's id."""


@dataclass(frozen=True)
class Walk:
    """A way through a list: the rows `where` holds, by `by` and then `id`, both falling; it takes care of the filters it `covers`."""

    covers: frozenset[str]
    by: ColumnElement[Any]
    id: ColumnElement[Any]
    where: ColumnElement[bool] = field(default_factory=true)
    repeats: bool = False


@dataclass(frozen=True, eq=False)
class Listing:
    """A list of a table's rows: the ways through it, the best first, and what each filter demands of a row."""

    table: Table
    document: ColumnElement[Any]
    walks: tuple[Walk, ...]
    tests: Mapping[str, ColumnElement[bool]]

    def walk(self, filters: frozenset[str]) -> Walk:
        """Return the best way for these filters."""
        return next(walk for walk in self.walks if walk.covers <= filters)

    def is_by_time(self, filters: frozenset[str]) -> bool:
        """Return whether the list is newest first with these filters."""
        return bool(self.walk(filters).by.key == "created_at")


@dataclass(frozen=True)
class Page:
    """The documents of a page as JSON texts, and where it ends if there is more, or may be."""

    documents: Sequence[str]
    ends_at: Place | None


def read(tx: Connection, listing: Listing, filters: Mapping[str, Any], *, limit: int, after: Place | None = None, offset: int = 0) -> Page:
    """Return a page of a list.

    Args:
        tx: reads it; one statement, and one more where few rows pass the tests.
        listing: which list.
        filters: name -> what it must be, and whatever else the statement binds.
        limit: how many documents at most.
        after: where the page before ended.
        offset: how many rows to pass over.
    """
    given = frozenset(filters.keys() & listing.tests.keys())
    values = dict(filters) | ({"after": after[0], "after_id": after[1]} if after else {})
    rows = tx.execute(statement(listing, given, after is not None), values | {"most": limit + 1, "offset": offset}).all()
    shown = fitting(row.document for row in rows[:limit])
    if len(rows) > len(shown):
        return Page(shown, (rows[len(shown) - 1].by, rows[len(shown) - 1].id))
    last = tx.execute(last_looked_at(listing, given, after is not None), values).one_or_none() if is_tested(listing, given) else None
    return Page(shown, None if last is None else (last.by, last.id))


def fitting(documents: Iterable[str]) -> list[str]:
    """Return as many of these texts, the first ones, as one page may hold; the others are not even made."""
    shown, size = list[str](), 0
    for document in documents:
        size += len(document.encode())
        if shown and size > MOST_BYTES:
            break
        shown.append(document)
    return shown


def is_tested(listing: Listing, given: frozenset[str]) -> bool:
    """Return whether rows on the way are tested for something, so that a page may be short."""
    return bool(_tests(listing, frozenset(given & listing.tests.keys())))


@lru_cache(maxsize=1024)
def statement(listing: Listing, given: frozenset[str], goes_on: bool) -> Select[Any]:
    """Return the query of a page; it binds the filters, `most`, `offset`, and `after` and `after_id` where it goes on."""
    tests = _tests(listing, given)
    places = _places(listing, given, goes_on)
    if tests:
        places = places.limit(literal(MOST_LOOKED_AT, literal_execute=True))
    else:
        places = places.limit(_number("most")).offset(_number("offset"))
    place = places.subquery("place")
    # With a limit of its own it is looked up row by row: no plan may read the whole table instead.
    row = (
        select(cast(listing.document, Text).label("document"))
        .where(listing.table.c.id == place.c.id, *tests)
        .limit(literal(1, literal_execute=True))
        .lateral("row")
    )
    query = select(place.c.by, place.c.id, row.c.document).select_from(place.join(row, true()))
    return query.order_by(place.c.by.desc(), place.c.id.desc()).limit(_number("most"))


@lru_cache(maxsize=1024)
def last_looked_at(listing: Listing, given: frozenset[str], goes_on: bool) -> Select[Any]:
    """Return the query of where the last row stands that a page looks at, if there are so many; it binds what the page's does."""
    one = literal(1, literal_execute=True)
    return _places(listing, given, goes_on).offset(literal(MOST_LOOKED_AT - 1, literal_execute=True)).limit(one)


def _tests(listing: Listing, given: frozenset[str]) -> list[ColumnElement[bool]]:
    on_the_way = listing.walk(given).covers | (_TIMES if listing.is_by_time(given) else frozenset())
    return [listing.tests[name] for name in sorted(given - on_the_way)]


def _places(listing: Listing, given: frozenset[str], goes_on: bool) -> Select[Any]:
    walk = listing.walk(given)
    places = select(walk.by.label("by"), walk.id.label("id")).where(walk.where).order_by(walk.by.desc(), walk.id.desc())
    if listing.is_by_time(given):
        places = places.where(*(created(walk.by, name) for name in sorted(given & _TIMES)))
    if goes_on:
        last = tuple_(bindparam("after", type_=walk.by.type), bindparam("after_id", type_=walk.id.type))
        places = places.where(tuple_(walk.by, walk.id) < last)
    return places.distinct() if walk.repeats else places


def created(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition of `created_after` (inclusive) or `created_before` on a time."""
    bound = bindparam(name, type_=column.type)
    return column >= bound if name == CREATED_AFTER else column < bound


def _number(name: str) -> ColumnElement[int]:
    return bindparam(name, type_=literal(1).type, literal_execute=True)
