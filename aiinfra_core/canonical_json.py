"""Canonical JSON (RFC 8785) out, strict JSON in.

Everything that is hashed or signed is written by `dumps`; everything that is believed is read by `loads`. Formatting for
people does not live here.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import rfc8785

from aiinfra_core.errors import BadInput

MAX_DEPTH = 64
_MAX_ERROR_TEXT = 120
# Python and RFC 8785 both write the shortest digits that read back the same; only exponents and whole numbers look different.
_PLAIN_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]*[1-9]")
_MAX_WHOLE_DIGITS = 22  # with a sign; RFC 8785 writes longer ones with an exponent


def dumps(value: Any) -> bytes:
    """Return the RFC 8785 bytes of a JSON value.

    Raises:
        BadInput: the value holds NaN, an infinity, an integer of 2^53 or more, or something that is not JSON.
    """
    try:
        if _is_plain(value):
            return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        return rfc8785.dumps(value)
    except (ValueError, RecursionError) as error:
        why = str(error)[:_MAX_ERROR_TEXT]
        raise BadInput(f"This value has no canonical JSON form: {why}. Use finite numbers and plain text.") from error


def loads(data: bytes | str, *, what: str = "JSON") -> Any:
    """Read JSON, refusing duplicate keys, NaN, infinities, text that is not Unicode and nesting deeper than `MAX_DEPTH`.

    Bytes are UTF-8 without a byte order mark. An integer of 2^53 or more is a float where `dumps` wrote one so (1e20), so that
    everything written can be read and written again; any other keeps its digits, and `dumps` refuses it.

    Raises:
        BadInput: with the reason, naming `what` was read.
    """

    def refuse_constant(name: str) -> NoReturn:
        raise BadInput(f"{what} holds {name}, which is not a JSON number.")

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else refuse_constant("a number too large for a double")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise BadInput(f"{what} names a key twice.")
        return fields

    try:
        text = data if isinstance(data, str) else data.decode()
        value = json.loads(text, object_pairs_hook=unique, parse_constant=refuse_constant, parse_float=finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        place = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadInput(f"{what} is not readable as JSON: {type(error).__name__}{place}.") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and depth(value) > MAX_DEPTH:
        raise BadInput(f"{what} is nested deeper than {MAX_DEPTH} levels.")
    _refuse_lone_surrogates(text, value, what)
    return value


def depth(value: Any) -> int:
    """Return how many levels of lists and objects a value has, counting no further than `MAX_DEPTH` + 1."""
    deepest, containers = 0, _containers([value])
    while containers and deepest <= MAX_DEPTH:
        deepest += 1
        containers = [child for item in containers for child in _containers(item.values() if isinstance(item, dict) else item)]
    return deepest


def _whole(text: str) -> int | float:
    number = int(text)
    if abs(number) < 2**53 or len(text) > _MAX_WHOLE_DIGITS or rfc8785.dumps(float(number)) != text.encode():
        return number
    return float(number)


def _containers(items: Iterable[Any]) -> list[Any]:
    return [item for item in items if isinstance(item, (dict, list, tuple))]


# JSON can spell half a surrogate pair; nothing that is UTF-8 (a signature's bytes, Postgres) can hold one.
def _refuse_lone_surrogates(text: str, value: Any, what: str) -> None:
    if "\\u" not in text and text.isascii():
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{what} holds half a surrogate pair, which is not text.") from error


# json.dumps is five times faster than rfc8785 and gives the same bytes wherever keys are ASCII and numbers are plain.
def _is_plain(value: Any) -> bool:
    left = [value]
    while left:
        item = left.pop()
        kind = type(item)
        if kind is dict:
            if not all(isinstance(key, str) and key.isascii() for key in item):
                return False
            left.extend(item.values())
        elif kind is list:
            left.extend(item)
        elif not _is_plain_leaf(item):
            return False
    return True


def _is_plain_leaf(item: Any) -> bool:
    if isinstance(item, str):  # an enumeration's texts too
        return item.isascii()
    if type(item) is float:
        return _PLAIN_DECIMAL.fullmatch(repr(item)) is not None
    return item is None or isinstance(item, bool) or (type(item) is int and -(2**53) < item < 2**53)
