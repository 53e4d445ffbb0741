"""Files as people bring them: harmless ones in many formats, and ones that run something when they are loaded. None is ever loaded."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from typing import Any


class Runs:
    """Its pickle calls `os.system` when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("echo never",)


class Own:
    """Its pickle names a class nobody but these tests knows."""


def malicious(protocol: int = 4) -> bytes:
    return pickle.dumps({"weights": [1.0], "more": Runs()}, protocol)


def plain(protocol: int = 4) -> bytes:
    return pickle.dumps(OrderedDict(weights=[1.0, 2.0]), protocol)


def own_class() -> bytes:
    return pickle.dumps(Own())


def old_style() -> bytes:
    """A pickle of protocol 0 that is text all through, with INST."""
    return b"(S'echo never'\nios\nsystem\n."


def broken() -> bytes:
    """It runs before a loader comes to where it makes no sense."""
    return malicious(2)[:-1] + b"\xff\xff\xff nothing"


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def torch(pickled: bytes) -> bytes:
    """As torch.save writes it; the storage would look like a program, were it looked at."""
    return zipped(**{"model/data.pkl": pickled, "model/version": b"3\n", "model/data/0": b"MZ" + bytes(62)})


def tarred(**files: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return data.getvalue()


def bomb() -> bytes:
    """More than a GiB of zeros in a few MB."""
    data = io.BytesIO()
    with (
        zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("zeros.bin", "w", force_zip64=True) as member,
    ):
        zeros = bytes(2**24)
        for _ in range(66):
            member.write(zeros)
    return data.getvalue()


def safetensors() -> bytes:
    header = json.dumps({"weights": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + struct.pack("<ff", 1.0, 2.0)


def onnx() -> bytes:
    """The fields of a ModelProto: ir_version, producer_name, graph, opset_import."""
    return b"\x08\x08\x12\x05tests\x3a\x04\x12\x02mg\x42\x02\x10\x0d"


def numpy_array(described: str, content: bytes) -> bytes:
    header = f"{{'descr': '{described}', 'fortran_order': False, 'shape': (1,), }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + content


def keras(*layers: dict[str, Any]) -> bytes:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": list(layers)}, "registered_name": None}
    weights = b"\x89HDF\r\n\x1a\n" + bytes(64)
    return zipped(**{"config.json": json.dumps(config).encode(), "metadata.json": b"{}", "model.weights.h5": weights})


def keras_hdf5(*layers: dict[str, Any]) -> bytes:
    config = json.dumps({"class_name": "Sequential", "config": {"layers": list(layers)}}).encode()
    return b"\x89HDF\r\n\x1a\n" + bytes(40) + b"model_config\0" + bytes(16) + config + bytes(16)


DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}}
LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEAAA"}}},
}

WITHOUT_CODE = {
    "safetensors": safetensors(),
    "onnx": onnx(),
    "gguf": b"GGUF\x03\0\0\0" + bytes(64),
    "parquet": b"PAR1" + bytes(64) + b"PAR1",
    "json": b'{"learner": {"gradient_booster": {"name": "gbtree"}}}',
    "lightgbm": b"tree\nversion=v4\nnum_class=1\n",
    "text": b"city,bias\nbrussels,0.5\n",
    "numpy": numpy_array("<f8", struct.pack("<d", 1.0)),
}
INSIDE = {
    "npz": (zipped(**{"a.npy": WITHOUT_CODE["numpy"]}), "no_code"),
    "skops": (
        zipped(**{"schema.json": b'{"__class__": "Ridge", "__module__": "sklearn.linear_model"}', "1.npy": WITHOUT_CODE["numpy"]}),
        "no_code",
    ),
    "harmless torch": (torch(plain(2)), "safe"),
    "pickle": (plain(), "safe"),
    "keras": (keras(DENSE), "safe"),
    "keras hdf5": (keras_hdf5(DENSE), "safe"),
    "gzip of json": (gzip.compress(b'{"a": 1}'), "no_code"),
}
"""What is told only by looking into it, and its verdict."""
EVIL = {
    **{f"protocol {number}": (malicious(number), "unsafe") for number in range(6)},
    "old style": (old_style(), "unsafe"),
    "broken": (broken(), "unsafe"),
    "a class of their own": (own_class(), "suspicious"),
    "torch": (torch(malicious(2)), "unsafe"),
    "zip in zip": (zipped(**{"inner.zip": zipped(**{"deep.bin": malicious()})}), "unsafe"),
    "tar": (tarred(**{"model/weights": malicious()}), "unsafe"),
    "gzip": (gzip.compress(malicious()), "unsafe"),
    "objects": (numpy_array("|O", malicious()), "unsafe"),
    "npz of objects": (zipped(**{"a.npy": numpy_array("|O", malicious())}), "unsafe"),
    "keras lambda": (keras(DENSE, LAMBDA), "suspicious"),
    "keras hdf5 lambda": (keras_hdf5(LAMBDA), "suspicious"),
    "keras json lambda": (json.dumps({"class_name": "Sequential", "config": [LAMBDA]}).encode(), "suspicious"),
    "keras of another module": (keras(DENSE | {"module": "os", "class_name": "system"}), "suspicious"),
    "program": (b"#!/bin/sh\necho never\n", "suspicious"),
    "yaml": (b"model: !!python/object/apply:os.system ['echo never']\n", "suspicious"),
    "far behind a long text": (b"\x80\x04X" + struct.pack("<I", 200_000) + b"a" * 200_000 + b"0" + malicious()[2:], "unsafe"),
}
"""What runs something somebody wrote, and its verdict."""
