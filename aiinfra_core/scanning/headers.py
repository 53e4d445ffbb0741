"""Formats that say in a header what all of their bytes are."""

import ast
import json
import re
import struct
from typing import Any

_LONGEST = 10_000
_NUMBERS = re.compile(r"[<>|=]?[biufcSUVmMa?]\d*(\[[\w/]*\])?")


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether it begins as a safetensors file does."""
    if len(head) < 10:
        return False
    (length,) = struct.unpack("<Q", head[:8])
    return (
        2 <= length <= min(size - 8, 100_000_000)
        and head[8:9] == b"{"
        and (8 + length > len(head) or head[7 + length : 8 + length] in b"} ")
    )


def fills(data: bytes, size: int) -> bool | None:
    """Whether the tensors of a safetensors file are all there is behind its header, None where not all of the header is seen."""
    (length,) = struct.unpack("<Q", data[:8])
    if 8 + length > len(data):
        return None
    try:
        header = json.loads(data[8 : 8 + length])
        ranges = sorted(tuple(map(int, one["data_offsets"])) for name, one in header.items() if name != "__metadata__")
        place = 0
        for begin, end in ranges:
            if begin != place or end < begin:
                return False
            place = end
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return bool(place == size - 8 - length)


def array_of(head: bytes) -> str | None:
    """Return `numbers` or `objects`, what a NumPy array is of; None where its header cannot be read in one way only."""
    wide = head[6:7] != b"\x01"
    start, length = (12, int.from_bytes(head[8:12], "little")) if wide else (10, int.from_bytes(head[8:10], "little"))
    header = head[start : start + length]
    if not len(header) == length <= _LONGEST:
        return None
    try:
        node = ast.parse(header.decode("utf-8" if head[6:7] == b"\x03" else "latin-1").strip(), mode="eval").body
        keys = [str(key.value) for key in node.keys if isinstance(key, ast.Constant)] if isinstance(node, ast.Dict) else []
        described: Any = ast.literal_eval(node)["descr"] if sorted(keys) == ["descr", "fortran_order", "shape"] else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, KeyError):
        return None
    return None if described is None else "numbers" if _is_numbers(described) else "objects"


def _is_numbers(described: Any) -> bool:
    """Whether a description is of numbers, also of numbers in fields: (name, description) or (name, description, shape) each."""
    if isinstance(described, str):
        return _NUMBERS.fullmatch(described) is not None
    if isinstance(described, tuple):
        return len(described) == 2 and _is_numbers(described[0])
    return isinstance(described, list) and all(isinstance(one, tuple) and len(one) > 1 and _is_numbers(one[1]) for one in described)
