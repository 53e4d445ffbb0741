"""Answers to those who read: JSON that is ready, plain text where it was asked for, and nothing where it has not changed.

Errors are told in `problems`; what is in an answer comes from `registry`, most of it as the text that is sent.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from fastapi import Header, Path, Request, Response

from aiinfra_core import checksums

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Not modified since the answer with this `ETag`"}}
AS_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_ETAG_LETTERS = 32

Reference = Annotated[
    str,
    Path(
        alias="id",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}([:@][A-Za-z0-9][A-Za-z0-9._-]{0,127})?$",
        description="An artifact's id; `MODEL`, which is its newest version; `MODEL:VERSION` or `MODEL@ENVIRONMENT`.",
        examples=["0b1d2c3e-8d1f-4a39-a3a5-4c5f3c1f7e21"],
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", max_length=1024, description="The `ETag` of what you have; if it is still so, the answer is 304."),
]


def sent(document: str, headers: Mapping[str, str] | None = None) -> Response:
    """Send a JSON text."""
    return Response(document, 200, headers, media_type="application/json")


def sent_value(value: Any) -> Response:
    """Send a JSON value."""
    return sent(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def sent_list(documents: Iterable[str], headers: Mapping[str, str]) -> Response:
    """Send JSON texts as an array."""
    return sent(f"[{','.join(documents)}]", headers)


def sent_unless_known(document: str, known: str | None, tag: str | None = None) -> Response:
    """Send a JSON text with its `ETag`, or 304 to who knows it already; without a tag it is a digest of the text."""
    own = f'"{tag or checksums.sha256_hex(document.encode())[:_ETAG_LETTERS]}"'
    if known is not None and any(one.strip().removeprefix("W/") in (own, "*") for one in known.split(",")):
        return Response(None, 304, {"ETag": own})
    return sent(document, {"ETag": own})


def wants_text(request: Request) -> bool:
    """Return whether plain text was asked for and JSON was not."""
    accepted = request.headers.get("accept", "")
    return "text/plain" in accepted and "application/json" not in accepted


def sent_text(text: str) -> Response:
    """Send plain text."""
    return Response(text, 200, media_type="text/plain")
