"""What a Keras configuration would run when the model is made from it: layers that hold code, and names from outside Keras."""

import json
from collections.abc import Iterator
from typing import Any

_CODE = {"Lambda", "__lambda__", "TorchModuleWrapper", "function"}  # a function is found by its name, wherever it is
_KERAS = ("keras", "tensorflow.keras", "tf_keras", "builtins")
_BEGINNINGS = (b'{"class_name"', b'{"module"')


def code_in(config: Any) -> list[str]:
    """Return what in a configuration runs code, each once: layers that hold it, and classes and functions of other modules."""
    return list(dict.fromkeys(_found(config)))


def code_in_bytes(data: bytes) -> list[str] | None:
    """Return the same of the configurations in a file's bytes, None where there are none to be read."""
    configs = list(_configs(data))
    return list(dict.fromkeys(one for config in configs for one in _found(config))) if configs else None


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


def _configs(data: bytes) -> Iterator[Any]:
    for beginning in _BEGINNINGS:
        place = data.find(beginning)
        while place >= 0:
            text = data[place : place + 2**26].split(b"\0", 1)[0].decode(errors="replace")
            try:
                config, length = json.JSONDecoder().raw_decode(text)
            except (ValueError, RecursionError):
                length = 1
            else:
                yield config
            place = data.find(beginning, place + max(1, length))
