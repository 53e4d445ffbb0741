import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput

NUMBERS = json.loads(Path("tests/vectors/rfc8785_numbers.json").read_text())["vectors"]

texts = st.text(st.characters(codec="utf-8"))
scalars = st.none() | st.booleans() | texts | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20)
plain = st.recursive(
    st.none() | st.booleans() | st.text(st.characters(max_codepoint=127)) | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_every_json_value_is_written_as_rfc_8785_says(value: Any) -> None:
    assert canonical_json.dumps(value) == rfc8785.dumps(value)


@given(plain)
def test_the_fast_way_gives_the_same_bytes(value: Any) -> None:
    assert canonical_json.dumps(value) == rfc8785.dumps(value)


@given(values)
def test_what_was_written_is_read_back(value: Any) -> None:
    assert canonical_json.loads(canonical_json.dumps(value)) == value


@given(values)
def test_writing_what_was_read_changes_nothing(value: Any) -> None:
    written = canonical_json.dumps(value)
    assert canonical_json.dumps(canonical_json.loads(written)) == written


@pytest.mark.parametrize("vector", NUMBERS, ids=lambda vector: vector["text"])
def test_numbers_are_written_as_in_the_rfc(vector: dict[str, str]) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(vector["ieee754"]))
    assert canonical_json.dumps(number).decode() == vector["text"]


def test_keys_are_sorted_by_utf_16_units() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    ordered = list(json.loads(canonical_json.dumps(dict.fromkeys(keys, 0))))
    assert ordered == ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        2**53,
        -(2**53),
        10**4000,
        10**5000,
        {"a": [math.nan]},
        {1: "a"},
        {"\ud800": 1},
        "\udfff",
        b"bytes",
        {1, 2},
        object(),
        nested(100_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_canonical_json_is_refused_in_one_short_sentence(value: Any) -> None:
    with pytest.raises(BadInput, match="no canonical JSON form") as caught:
        canonical_json.dumps(value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '{"a":1,"\\u0061":2}',
        "NaN",
        '{"a":[Infinity]}',
        "-Infinity",
        "1e999",
        "-1e999",
        "",
        "{",
        '{"a":1}x',
        '{"a":1',
        "{'a':1}",
        "01",
        '"\n"',
        '"\\ud800"',
        '{"\\udc00":1}',
        '["\\ud83d"]',
        "9" * 5000,
        "[" * 65 + "]" * 65,
        "[" * 1_000_000,
        '{"a":' * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_unclear_json_is_refused_by_name(text: str) -> None:
    for data in (text, text.encode("utf-8", "surrogatepass")):
        with pytest.raises(BadInput, match=r"^The letter "):
            canonical_json.loads(data, what="The letter")


@pytest.mark.parametrize(
    "data",
    [b'\xef\xbb\xbf{"a":1}', '{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-32-le"), b'"\xff"', b'"\xed\xa0\x80"', b"\xc0\xaf"],
    ids=["byte order mark", "utf-16", "utf-32", "latin-1", "surrogate in utf-8", "overlong"],
)
def test_bytes_are_utf_8_or_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        canonical_json.loads(data)


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert canonical_json.loads('"\\ud83d\\ude00"') == "\U0001f600"


def test_nesting_up_to_the_limit_is_read() -> None:
    assert canonical_json.depth(canonical_json.loads("[" * 64 + "]" * 64)) == 64


@given(values)
def test_depth_counts_levels_of_containers(value: Any) -> None:
    def levels(item: Any) -> int:
        if isinstance(item, dict):
            return 1 + max(map(levels, item.values()), default=0)
        return 1 + max(map(levels, item), default=0) if isinstance(item, list) else 0

    assert canonical_json.depth(value) == levels(value)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        canonical_json.loads(data)
    except BadInput:
        return
