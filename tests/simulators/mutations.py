"""Ways to change good bytes a little, as hypothesis strategies: as bytes, as lines, as JSON and what stands in it as base64."""

import base64
import binascii
import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

_TOKENS = ["", "\n", "\n\n", "\r\n", " ", "\t", "\0", "— ", "=", "==", '"', "\\", "\\u0000", "\\ud800", "\u2028", "é", *"{}[],:"]
_NUMBERS = ["-0", "0", "01", "1.0", "1e999", "NaN", "-Infinity", "9" * 20, "9" * 400, "9" * 5000, "\u0663"]
_BYTES = [b"\xff", b"\xed\xa0\x80", b"\xc0\xae", b"\xef\xbb\xbf", b"[" * 3000, b'{"a":' * 3000]
_PIECES = [*(it.encode() for it in _TOKENS + _NUMBERS), *_BYTES]
_LINES = [b"", b" ", b"extra AAAA", b"index 0", "— x AAAAAAAA".encode()]
_ODD: list[Any] = [None, True, False, 0, -1, 1, 2, 2**53, 2**64, 10**30, 1.5, 1e300, "", "x", "\0", "\ud800", "é", "0" * 64, [], [[]], {}]
_NAMES = ["x", "_type", "keyid", "sig", "é", ""]
_SPELLINGS: list[dict[str, Any]] = [
    {"separators": (",", ":")},
    {"separators": (",", ":"), "sort_keys": True, "ensure_ascii": False},
    {"indent": 1},
    {"separators": (" ,", " : ")},
]


def changes(good: bytes) -> st.SearchStrategy[bytes]:
    """Return bytes that are anything, or near to the good ones."""
    anyhow = st.binary(max_size=300) | changed_bytes(good) | changed_lines(good)
    return st.one_of(anyhow, changed_json(good), changed_json(good)) if good[:1] in (b"{", b"[") else anyhow


@st.composite
def changed_bytes(draw: st.DrawFn, good: bytes) -> bytes:
    """Replace up to three short pieces by tokens, other bytes or pieces from elsewhere in them, and perhaps cut the end."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        place, other = draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))
        piece = st.sampled_from(_PIECES) | st.binary(max_size=4) | st.just(bytes(data[other : other + 40]))
        data[place : place + draw(st.integers(0, 12))] = draw(piece)
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))])


@st.composite
def changed_lines(draw: st.DrawFn, good: bytes) -> bytes:
    """Leave out, repeat, swap, insert or join whole lines, or end them in another way."""
    lines = good.split(b"\n")
    for _ in range(draw(st.integers(1, 2))):
        first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match draw(st.sampled_from(["drop", "repeat", "swap", "insert", "join"])):
            case "drop" if len(lines) > 1:
                del lines[first]
            case "repeat":
                lines[second:second] = [lines[first]] * draw(st.sampled_from([1, 2, 70]))
            case "swap":
                lines[first], lines[second] = lines[second], lines[first]
            case "insert":
                lines.insert(first, draw(st.sampled_from(_LINES) | st.binary(max_size=9)))
            case _:
                lines[first : first + 2] = [b" ".join(lines[first : first + 2])]
    return draw(st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n"])).join(lines)


@st.composite
def changed_json(draw: st.DrawFn, good: bytes) -> bytes:
    """Change up to three values somewhere in a JSON object or list, and spell the result in one of several ways."""
    try:
        value = json.loads(good)
    except ValueError:
        return draw(changed_bytes(good))
    for _ in range(draw(st.integers(0, 3))):
        if value:
            draw(st.sampled_from([_replace, _drop, _copy, _wrap, _add, _edit, _edit, _edit]))(draw, value, *_place(draw, value))
    return json.dumps(value, **draw(st.sampled_from(_SPELLINGS))).encode(errors="surrogatepass")


def _place(draw: st.DrawFn, value: Any) -> tuple[Any, Any]:
    """Choose a value in a list or object that is not empty, the outer ones more often; return what holds it and its key there."""
    key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    inner = value[key]
    return _place(draw, inner) if inner and isinstance(inner, (dict, list)) and draw(st.integers(0, 2)) else (value, key)


def _replace(draw: st.DrawFn, value: Any, holder: Any, key: Any) -> None:
    holder[key] = deepcopy(draw(st.sampled_from(_ODD)))


def _drop(draw: st.DrawFn, value: Any, holder: Any, key: Any) -> None:
    del holder[key]


def _copy(draw: st.DrawFn, value: Any, holder: Any, key: Any) -> None:
    source, name = _place(draw, value)
    holder[key] = deepcopy(source[name])


def _wrap(draw: st.DrawFn, value: Any, holder: Any, key: Any) -> None:
    holder[key] = [deepcopy(holder[key]) for _ in range(draw(st.integers(0, 3)))]


def _add(draw: st.DrawFn, value: Any, holder: Any, key: Any) -> None:
    if isinstance(holder, dict):
        holder[draw(st.sampled_from(_NAMES))] = deepcopy(draw(st.sampled_from(_ODD)))
    else:
        holder.append(deepcopy(holder[key]))


def _edit(draw: st.DrawFn, value: Any, holder: Any, key: Any) -> None:
    if isinstance(holder[key], str):
        holder[key] = draw(st.sampled_from([_one_letter, _one_letter, _inside]))(draw, holder[key])
    elif isinstance(holder[key], int):
        holder[key] += draw(st.sampled_from([-1, 1, 0.0]))


def _one_letter(draw: st.DrawFn, text: str) -> str:
    """Put one letter in the place of another of its kind, or leave out or add one."""
    place = draw(st.integers(0, max(0, len(text) - 1)))
    letter = text[place : place + 1]
    kind = "0123456789" if letter.isdigit() else "abcdefABCDEFzZ" if letter.isalpha() else " /+-=:\n"
    instead: str = draw(st.sampled_from(["", letter * 2, *kind]))
    return text[:place] + instead + text[place + 1 :]


def _inside(draw: st.DrawFn, text: str) -> str:
    """Change what a text holds as base64, where it holds something."""
    try:
        held = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return _one_letter(draw, text)
    inner: Callable[[bytes], st.SearchStrategy[bytes]] = changed_json if held[:1] == b"{" else changed_bytes
    return base64.b64encode(draw(inner(held))).decode()
