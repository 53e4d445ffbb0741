"""What the shapes of all predicates are made of: who defined them, and how a time or a large number is written."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

Timestamp = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"),
    Field(description="UTC, RFC 3339, with microseconds and a Z."),
]
WholeNumber = Annotated[
    str, StringConstraints(pattern=r"^(0|[1-9][0-9]*)$", max_length=40), Field(description="A whole number, as decimal text.")
]


class Standard(BaseModel):
    """Part of a predicate that others defined."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)


class Own(BaseModel):
    """Part of a predicate that we defined."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)
