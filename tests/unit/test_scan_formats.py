"""Formats are told by bytes: what runs something is never called harmless, whatever it looks like besides."""

import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.scanning import keras
from aiinfra_core.scanning.formats import HEAD_BYTES, told
from aiinfra_core.scanning.heads import Heads
from tests.simulators import serialised_models as models

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(before=_PLAIN, after=_PLAIN, protocol=st.integers(0, 5), junk=st.binary(max_size=40))
def test_a_pickle_that_runs_something_is_always_looked_into(before: object, after: object, protocol: int, junk: bytes) -> None:
    data = pickle.dumps([before, models.Runs(), after], protocol) + junk
    assert told(data, len(data)).verdict is None


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=200))
def test_text_is_told_whatever_it_says(said: str) -> None:
    what = told(said.encode(), len(said.encode()))
    assert what.verdict in (None, "no_code", "suspicious")


@given(st.binary(max_size=300))
def test_whatever_the_bytes_are_something_is_told(data: bytes) -> None:
    assert told(data, len(data)).verdict in (None, "no_code", "suspicious", "unknown")


@pytest.mark.parametrize(
    "words", ["city\nparis\nbrussels\n", "bias,weight\n", "intercept\n0.5\n", "0.5,0.7\n", "boo\n", "Ridge\n", "(a, b)\n", "ones\ntwos\n"]
)
def test_text_that_begins_like_a_pickle_is_text(words: str) -> None:
    assert told(words.encode(), len(words)).name == "text"


def test_what_is_two_things_at_once_is_looked_into() -> None:
    """A safetensors file whose length, read as opcodes, is a text that ends where a call begins."""
    length = int.from_bytes(b"\x80\x04X\x05\0\0\0\0", "little")
    data = struct.pack("<Q", length) + b'{"__' + b"0" + models.malicious()[2:]
    assert told(data, length + 8).name == "pickle"
    assert told(models.safetensors(), len(models.safetensors())).name == "safetensors"


@pytest.mark.parametrize("name", ["model.py", "lib/libcustom.SO", "setup.sh"])
def test_a_name_can_only_make_it_worse(name: str) -> None:
    assert told(b"weights", 7, name).verdict == "suspicious"
    assert told(models.malicious(), 100, "model.safetensors").name == "pickle"


def test_a_pickle_that_goes_on_beyond_what_is_seen_is_looked_into() -> None:
    data = b"\x80\x04X" + struct.pack("<I", 10**6) + b"a" * HEAD_BYTES
    assert told(data[:HEAD_BYTES], 10**6 + 50).verdict is None


def test_files_are_told_block_by_block_one_after_the_other() -> None:
    heads = Heads("s3://models/weights.bin")
    for name, content in (("a", models.safetensors()), ("b", models.malicious()), ("c", b"x" * 200_000)):
        for start in range(0, len(content), 7000):
            heads(name, memoryview(content)[start : start + 7000])
    assert {name: what.name for name, what in heads.formats().items()} == {"a": "safetensors", "b": "pickle", "c": "text"}


def test_of_a_keras_configuration_only_what_runs_code_is_named() -> None:
    assert keras.code_in({"config": {"layers": [models.DENSE]}}) == []
    assert keras.code_in([models.LAMBDA]) == ["keras Lambda", "keras __lambda__"]
    assert keras.code_in({"module": "os", "class_name": "system"}) == ["os system"]
    assert keras.code_in({"module": "builtins", "class_name": "function", "config": "eval"}) == ["keras function"]
    assert keras.code_in_hdf5(b"no configuration") is None
