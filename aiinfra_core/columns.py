"""What every table is made of: the exact JSON column, a moment, a column that always has a value, the metadata they all belong to.

JSON columns are read and written as their exact text, because that text is what evidence was made from.
"""

from typing import Any

from sqlalchemy import Column, ColumnElement, DateTime, MetaData, Text, cast
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator


class ExactJson(TypeDecorator[str]):
    """A `json` column whose text comes back byte for byte."""

    impl = postgresql.JSON
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Read the stored text, not a parsed value."""
        return cast(column, Text)

    def bind_processor(self, dialect: Any) -> None:
        """Leave the text alone on the way in; Postgres checks that it is JSON and keeps it as it is."""

    def result_processor(self, dialect: Any, coltype: Any) -> None:
        """Leave the text alone on the way out."""


metadata = MetaData()
MOMENT = DateTime(timezone=True)


def required(name: str, kind: Any, **options: Any) -> Column[Any]:
    """Return a column that always has a value."""
    return Column(name, kind, nullable=False, **options)
