"""What may stand in a card: text of bounded length, tags as a map or a list of names; nothing a database could not keep."""

from typing import Any

import pytest
from pydantic import ValidationError

from aiinfra_core.domain.card import MAX_CARD_BYTES, MAX_DESCRIPTION_BYTES, CardText


def test_what_is_left_out_is_empty() -> None:
    assert CardText() == CardText(description="", tags={}, card="")


def test_tags_may_come_as_a_list_of_names() -> None:
    assert CardText.model_validate({"tags": ["weather", "tier-1"]}).tags == {"weather": "", "tier-1": ""}


def test_the_largest_card_is_taken() -> None:
    tags = {f"{number:0128}": "v" * 256 for number in range(64)}
    largest = CardText(description="é" * (MAX_DESCRIPTION_BYTES // 2), tags=tags, card="☂\t\r\n" * (MAX_CARD_BYTES // 6))
    assert len(largest.tags) == 64


@pytest.mark.parametrize(
    "fields",
    [
        {"description": "é" * (MAX_DESCRIPTION_BYTES // 2 + 1)},
        {"card": "☂" * (MAX_CARD_BYTES // 3 + 1)},
        {"card": "a\x00b"},
        {"card": "a\x1b[31mb"},
        {"description": "\x7f"},
        {"card": "\ud800"},
        {"tags": {f"tag-{number}": "" for number in range(65)}},
        {"tags": {"": "no name"}},
        {"tags": {"x" * 129: ""}},
        {"tags": {"a=b": ""}},
        {"tags": {"a\nb": ""}},
        {"tags": {"a": "v" * 257}},
        {"tags": {"a": 1}},
        {"tags": ["a", 1]},
        {"tags": "a"},
        {"card": 7},
        {"html": "<b>"},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_anything_else_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CardText.model_validate(fields)
