"""What a Keras configuration would run when the model is made from it: layers that hold code, and names from outside Keras."""

import json
import re
from collections.abc import Iterator
from typing import Any

_CODE = {"Lambda", "__lambda__", "TorchModuleWrapper", "function"}  # a function is found by its name, wherever it is
_KERAS = ("keras", "tensorflow.keras", "tf_keras", "builtins")
_BEGINNING = re.compile(r'\{\s*"')
_KEY = re.compile(r"class_name|\\u00(?:5[fF]|[67])")
_HIDING = re.compile(rb"FRHP\0..(?!\0\0)", re.DOTALL)  # a heap of attributes behind a filter, which is not unpacked here
_PICKLE = re.compile(rb"c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n|\x8c.[\w.]+(?:\x94|q.)?\x8c.\w+(?:\x94|q.)?\x93", re.DOTALL)


def code_in(config: Any) -> list[str]:
    """Return what in a configuration runs code, each once: layers that hold it, and classes and functions of other modules."""
    return list(dict.fromkeys(_found(config)))


def code_in_hdf5(data: bytes) -> list[str] | None:
    """Return the same of every configuration in an HDF5 file of Keras; None where it is no such file or holds what was not read."""
    text, configs, read_to = data.decode("latin-1"), list[Any](), 0
    if b"model_config" not in data or _HIDING.search(data) or _PICKLE.search(data):
        return None
    for config, begin, end in _configs(text):
        if _KEY.search(text, read_to, begin):
            return None
        configs, read_to = [*configs, config], end
    if not configs or _KEY.search(text, read_to):
        return None
    return list(dict.fromkeys(one for config in configs for one in _found(config)))


def _found(root: Any) -> Iterator[str]:
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        if not isinstance(value, dict):
            continue
        waiting += value.values()
        module, name = value.get("module"), str(value.get("class_name"))
        if name in _CODE:
            yield f"keras {name}"
        if isinstance(module, str) and not any(module == known or module.startswith(f"{known}.") for known in _KERAS):
            yield f"{module} {name}"[:200]


def _configs(text: str) -> Iterator[tuple[Any, int, int]]:
    """Give each JSON object that names a class, with where it begins and ends, however it is spelled."""
    decoder, place = json.JSONDecoder(), 0
    while begun := _BEGINNING.search(text, place):
        try:
            config, place = decoder.raw_decode(text, begun.start())
        except (ValueError, RecursionError):
            place = begun.start() + 1
        else:
            if _KEY.search(text, begun.start(), place):
                yield config, begun.start(), place
