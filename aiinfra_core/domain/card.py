"""What people say about a model or a version of it: a description, tags, and a model card in Markdown."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from aiinfra_core.domain.record import Actor, Name, Record

MAX_DESCRIPTION_BYTES = 2 * 1024
MAX_CARD_BYTES = 64 * 1024
MAX_TAGS = 64
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
_TAG = r"^[^\x00-\x1f\x7f=]{1,128}$"


def _of_bytes(most: int) -> AfterValidator:
    def check(value: str) -> str:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise ValueError("holds half a surrogate pair, which is not text") from None
        if size > most:
            raise ValueError(f"has {size} bytes; at most {most} are kept")
        return value

    return AfterValidator(check)


def _named(value: Any) -> Any:
    """Take a list of tags as tags without a value."""
    return dict.fromkeys(value, "") if isinstance(value, list) and all(isinstance(tag, str) for tag in value) else value


Tag = Annotated[str, StringConstraints(pattern=_TAG), _of_bytes(512)]
TagValue = Annotated[str, StringConstraints(pattern=_TEXT, max_length=256), _of_bytes(1024)]
Tags = Annotated[
    dict[Tag, TagValue],
    Field(max_length=MAX_TAGS),
    BeforeValidator(_named),
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "type": "object",
                    "maxProperties": MAX_TAGS,
                    "propertyNames": {"pattern": _TAG},
                    "additionalProperties": {"type": "string", "maxLength": 256, "pattern": _TEXT},
                },
                {"type": "array", "maxItems": MAX_TAGS, "items": {"type": "string", "pattern": _TAG}},
            ]
        }
    ),
]


class CardText(Record):
    """A card as somebody writes it; what is left out is empty."""

    description: Annotated[str, StringConstraints(pattern=_TEXT), _of_bytes(MAX_DESCRIPTION_BYTES)] = Field(
        default="",
        max_length=MAX_DESCRIPTION_BYTES,
        description="What it is, in a few words; at most 2 KB.",
        examples=["Millimetres of rain for the next six hours."],
    )
    tags: Tags = Field(
        default_factory=dict,
        description="Up to 64 names with values, or a list of names alone.",
        examples=[{"team": "weather", "tier": "1"}],
    )
    card: Annotated[str, StringConstraints(pattern=_TEXT), _of_bytes(MAX_CARD_BYTES)] = Field(
        default="",
        max_length=MAX_CARD_BYTES,
        description="The model card in Markdown; kept and sent as text, never rendered; at most 64 KB.",
        examples=["# Rainfall"],
    )


class Card(CardText):
    """A card as it is kept; without a version it is about the model. `revision` counts the cards written about the same, from 1."""

    id: UUID
    model: Name
    version: int | None
    revision: int
    written_by: Actor
    created_at: datetime
