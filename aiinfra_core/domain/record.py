"""The base of every record and the checked text types they share."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput

MAX_JSON_BYTES = 64 * 1024
MAX_JSON_DEPTH = 16
_SHA256 = r"^[0-9a-f]{64}$"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Record(BaseModel):
    """A frozen value; accepts and writes the wire's camelCase names as well as its own."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, hide_input_in_errors=True
    )


def _bounded(value: dict[str, Any]) -> dict[str, Any]:
    if canonical_json.depth(value) > MAX_JSON_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_JSON_DEPTH} levels")
    try:
        size = len(canonical_json.dumps(value))
    except BadInput as error:
        raise ValueError(str(error)) from error
    if size > MAX_JSON_BYTES:
        raise ValueError(f"is larger than {MAX_JSON_BYTES} bytes as JSON; put it into a dataset")
    return value


def a_location(value: str) -> str:
    """Return a path or URL as it is.

    Raises:
        ValueError: it holds credentials or control characters.
    """
    if _CONTROL.search(value):
        raise ValueError("holds a control character")
    scheme, _, rest = re.sub("@[0-9a-f]{40}$", "", value).partition("://")
    credentials = rest.partition("/")[0].rpartition("@")[0]
    if ":" in credentials or (credentials and scheme.removeprefix("git+") in ("http", "https")):
        raise ValueError("holds credentials; give them to git or to the store's own configuration")
    return value


def causes(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return pydantic's errors without those that only follow: a list is too short once what is wrong in it was left out."""
    places = [tuple(error["loc"]) for error in errors]
    follows = [error["type"] == "too_short" and any(_is_in(place, error["loc"]) for place in places) for error in errors]
    return [error for error, only in zip(errors, follows, strict=True) if not only]


def _is_in(place: Sequence[int | str], outer: Sequence[int | str]) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == tuple(outer)


def in_words(error: Mapping[str, Any]) -> str:
    """Return what one of pydantic's errors says of a value, for people."""
    if error["type"] == "string_pattern_mismatch" and error["ctx"]["pattern"] == _SHA256:
        return "must be a SHA-256 digest, 64 digits of 0-9 and a-f"
    return str(error["msg"]).removeprefix("Value error, ")


Location = Annotated[str, AfterValidator(a_location)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")]
Actor = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,256}$")]
RequestId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
Sha256 = Annotated[str, StringConstraints(pattern=_SHA256)]
JsonObject = Annotated[dict[str, Any], AfterValidator(_bounded)]
