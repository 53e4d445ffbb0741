"""What lies behind, inside or beside something harmless is never called harmless with it."""

import io
import json
import pickle
import struct

import pytest

from aiinfra_core.scanning import keras, looking
from aiinfra_core.scanning.besides import HDF5
from aiinfra_core.scanning.heads import Heads
from tests.simulators import serialised_models as models

_LAMBDA = json.dumps({"class_name": "Functional", "config": {"layers": [models.LAMBDA]}}).encode()
_KERAS_ZIP = models.keras(models.LAMBDA)
_HDF5 = models.keras_hdf5(models.LAMBDA)
_LONG = 2 * 2**20
_TEXT = b"words and words\n" * (_LONG // 16)
_DECOY = b'{"class_name": "Sequential", "config": {}}\0'
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def _verdict(data: bytes, name: str = "model", block: int = 2**20) -> str:
    """Return what a registration would come to, without the process of its own."""
    heads = Heads(f"file:///store/{name}")
    for start in range(0, len(data), block):
        heads(name, memoryview(data)[start : start + block])
    told = heads.formats()[name].verdict
    looked = looking.look(io.BytesIO(data), len(data), name, looking.Budget())
    assert told in (None, looked.verdict)
    return looked.verdict


@pytest.mark.parametrize("block", [7000, 2**20])
@pytest.mark.parametrize(
    "before", [b"x" * 512, b"x" * 65536, _TEXT, models.WITHOUT_CODE["gguf"].ljust(1024, b"\0"), _PNG.ljust(512, b"\0")]
)
def test_a_zip_or_an_hdf5_file_behind_something_else_is_unknown(before: bytes, block: int) -> None:
    assert _verdict(before + _KERAS_ZIP, block=block) == "unknown"
    assert _verdict(before + _HDF5, block=block) == "unknown"
    assert _verdict(_KERAS_ZIP.join([before, b""]) + bytes(60_000), block=block) == "unknown"


def test_a_zip_in_the_numbers_of_a_safetensors_file_is_unknown() -> None:
    header = json.dumps({"w": {"dtype": "U8", "shape": [len(_KERAS_ZIP)], "data_offsets": [0, len(_KERAS_ZIP)]}}).encode()
    assert _verdict(struct.pack("<Q", len(header)) + header + _KERAS_ZIP) == "unknown"
    assert _verdict(models.safetensors() + b"more") == "unknown"
    assert _verdict(models.safetensors()) == "no_code"
    many = {f"layer.{number}": {"dtype": "U8", "shape": [1], "data_offsets": [number, number + 1]} for number in range(30_000)}
    assert _verdict(struct.pack("<Q", len(json.dumps(many))) + json.dumps(many).encode() + bytes(30_000)) == "no_code"


@pytest.mark.parametrize("padding", [0, 70_000, _LONG])
def test_a_layer_with_code_is_found_in_json_however_it_is_spelled_and_wherever(padding: int) -> None:
    for config in (_LAMBDA, _LAMBDA.replace(b"class_name", b"class\\u005Fname"), _LAMBDA.replace(b"class", b"\\u0063lass")):
        assert _verdict(b'{"note": "' + b"a" * padding + b'",' + config[1:]) == "suspicious"
    assert _verdict(b'{"note": "' + b"a" * padding + b'\\n\\u00e9"}') == "no_code"
    assert _verdict(b'{"class_name": "Lambda", ' + b" " * padding) == "unknown"


@pytest.mark.parametrize(
    "said",
    [
        b"%TAG ! tag:yaml.org,2002:\n---\na: !python/object/apply:os.getpid []\n",
        b"a: !!python/object/apply:os.getpid []\n",
        b"a: !!%70ython/object/apply:os.getpid []\n",
        b"a: !<tag:yaml.org,2002:python/object/apply:os.getpid> []\n",
        b"{a: !!python/object/apply:os.getpid []}\n",
        b"GGUF: !!python/object/apply:os.getpid []\n",
        b"tree\nversion=v4\n---\n!!python/object/apply:os.getpid []\n",
    ],
)
@pytest.mark.parametrize("padding", [0, 70_000, 2**20 - 3, _LONG])
def test_tags_that_make_python_objects_are_found_wherever_they_are(said: bytes, padding: int) -> None:
    assert _verdict(said if not padding else b"# " + b"a" * padding + b"\n" + said) == "suspicious"


@pytest.mark.parametrize(
    "text", [b"# Title\n\n<b>Welcome!</b> 100%\n[a](b.md)\n", "city,mm\nLi\u00e8ge,3\n".encode(), b"[![a](b%20c)](d)\n", _TEXT]
)
def test_text_with_none_of_it_holds_no_code(text: bytes) -> None:
    assert _verdict(text, "README.md") == "no_code"


@pytest.mark.parametrize(
    ("header", "verdict"),
    [
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'descr': '|O'}", "unknown"),
        ("{'descr': 'object', 'fortran_order': False, 'shape': (1,)}", "unsafe"),
        ("{'descr': '|' 'O', 'fortran_order': False, 'shape': (1,)}", "unsafe"),
        ("{'descr': [('a', '<f8'), ('b', '|O')], 'fortran_order': False, 'shape': (1,)}", "unsafe"),
        ("{'descr': [('Ozone', '<f8')], 'fortran_order': False, 'shape': (1,)}", "no_code"),
        ("{'descr': '<f8', 'fortran_order': False}", "unknown"),
        ("dict(descr='<f8', fortran_order=False, shape=(1,))", "unknown"),
    ],
)
def test_the_header_of_an_array_is_read_as_its_reader_reads_it(header: str, verdict: str) -> None:
    data = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + models.malicious(2)
    assert _verdict(data, "w.npy") == verdict


@pytest.mark.parametrize(
    "config",
    [
        b'{ "class_name":"Lambda"}',
        b'{"config": {}, "class_name": "Lambda"}',
        b'{"class_n\\u0061me": "Lambda"}',
        b'{\n"class_name"\n:"Lambda"}',
    ],
)
def test_every_configuration_in_an_hdf5_file_is_read(config: bytes) -> None:
    begun = HDF5 + bytes(40) + _DECOY + b"model_config\0"
    assert _verdict(begun + config + bytes(8), "m.h5") == "suspicious"
    assert _verdict(begun + config[:-1] + bytes(8), "m.h5") == "unknown"
    assert _verdict(begun + bytes(8), "m.h5") == "safe"


@pytest.mark.parametrize("protocol", range(6))
def test_an_hdf5_file_with_a_pickle_or_without_a_configuration_is_unknown(protocol: int) -> None:
    pickled = pickle.dumps(models.Runs(), protocol)
    assert _verdict(HDF5 + bytes(100) + pickled, "m.h5") == "unknown"
    assert _verdict(models.keras_hdf5(models.DENSE) + pickled, "m.h5") == "unknown"
    assert keras.code_in_hdf5(models.keras_hdf5(models.DENSE) + b"FRHP\0\x08\0\x10\0") is None
