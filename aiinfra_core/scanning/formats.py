"""What a file is, told by its bytes and never by its name alone.

A name can only make it worse: a program is one by its name, too. Pickles of protocol 0 and 1 have no mark of their own, so every file,
whatever its mark, is walked as a pickle as far as that makes sense: a file that is both is looked into. Formats that do not account for all
of their bytes, and text, are judged by all of them: what comes behind may be what a reader goes by.
"""

import pickletools
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import IO

from aiinfra_core.scanning import texts
from aiinfra_core.scanning.besides import HDF5, besides, said
from aiinfra_core.scanning.headers import array_of, fills, is_safetensors

HEAD_BYTES = 64 * 1024
WHOLE_BYTES = 2**20
"""What is no larger is judged where it is read; a larger text is looked into."""
_PROGRAMS = {".py", ".pyc", ".pyd", ".pyw", ".so", ".dll", ".dylib", ".exe", ".sh", ".bat", ".ps1", ".js", ".rb", ".pl", ".lua", ".jar"}
_PROGRAM_MARKS = (b"\x7fELF", b"MZ", b"#!", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\0asm", b"\x1bLua")
_WITHOUT_CODE = {
    b"GGUF": "gguf",
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"FEA1": "feather",
    b"CBM1": "catboost",
    b"\x89PNG\r\n\x1a\n": "image",
    b"\xff\xd8\xff": "image",
}
_CONTAINERS = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x5d\0\0": "lzma",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x04\x22\x4d\x18": "lz4",
    HDF5: "hdf5",
}
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_RUNS = {"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"}
_ONNX_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}  # field of a ModelProto -> wire type
_GRAPH = 7


@dataclass(frozen=True)
class Format:
    """What a file is; `verdict` is None where it has to be looked into."""

    name: str
    verdict: str | None
    detail: str | None = None


def kept(beginning: bytes) -> int:
    """Return how many of its first bytes have to be kept of a file to tell what it is."""
    if texts.begins(beginning, WHOLE_BYTES):
        return WHOLE_BYTES
    header = 8 + int.from_bytes(beginning[:8], "little") if beginning[8:9] == b"{" else 0
    return max(HEAD_BYTES, min(header, WHOLE_BYTES))


def told(head: bytes, size: int, name: str = "", *, pickle: bool | None = None, others: frozenset[str] | None = None) -> Format:
    """Return what a file is.

    Args:
        head: how it begins: the whole of it, or as many bytes as `kept` says at least.
        size: of the whole of it.
        name: its path in the artifact.
        pickle: whether it is a pickle, where somebody looked at more than the head.
        others: what else it is, where the head is not the whole of it.
    """
    near = head[:HEAD_BYTES]
    if head.startswith(_PROGRAM_MARKS) or PurePosixPath(name).suffix.lower() in _PROGRAMS:
        return Format("program", "suspicious", "a program: whoever runs or imports it runs what somebody wrote")
    if (container := _by_mark(head, _CONTAINERS)) or (container := _other_container(head)):
        return Format(container, None)
    if walks_as_pickle(BytesIO(near), len(near), size) if pickle is None else pickle:
        return Format("pickle", None)
    if texts.begins(head, size):
        return text(head, texts.read([head])) if len(head) == size else Format("json" if texts.is_json(head) else "text", None)
    found = _without_code(head, size)
    if others is None:
        others = besides(BytesIO(head), len(head))
    return Format(found.name, "unknown", said(others)) if found.verdict == "no_code" and others else found


def text(head: bytes, found: texts.Text) -> Format:
    """Return what a file is that begins as text, by what is in all of it; JSON that may hold more than data has to be parsed."""
    if texts.is_json(head) and found.plain and (found.keyed or found.tagged):
        return Format("keras json" if found.keyed else "json", None)
    if found.tagged:
        return Format("yaml", "suspicious", texts.TAGGED)
    if not found.plain:
        return Format("unknown", "unknown", texts.MIXED)
    return Format("json" if texts.is_json(head) else "lightgbm" if head.startswith(b"tree\nversion=") else "text", "no_code")


def _without_code(head: bytes, size: int) -> Format:
    if head.startswith(b"\x93NUMPY"):
        return _numpy(head)
    if is_safetensors(head, size):
        return _safetensors(head, size)
    if found := _by_mark(head, _WITHOUT_CODE) or _by_structure(head[:HEAD_BYTES], size):
        return Format(found, "no_code")
    return Format("unknown", "unknown", "nobody here knows this format; safetensors, ONNX and skops are known to hold no code")


def _by_mark(head: bytes, marks: dict[bytes, str]) -> str | None:
    return next((name for mark, name in marks.items() if head.startswith(mark)), None)


def _other_container(head: bytes) -> str | None:
    if head[257:262] == b"ustar" or _is_old_tar(head[:512]):
        return "tar"
    return "zlib" if head.startswith(_ZLIB) else None


def _is_old_tar(block: bytes) -> bool:
    """A tar file without a mark has its own sum in its header."""
    try:
        return len(block) == 512 and int(block[148:156].strip(b" \0"), 8) == 256 + sum(block[:148]) + sum(block[156:])
    except ValueError:
        return False


def _by_structure(head: bytes, size: int) -> str | None:
    if _is_onnx(head, size):
        return "onnx"
    if head[4:8] == b"TFL3":
        return "tflite"
    return "ubjson" if re.match(rb"\{[Ll]\0", head) else None


def _safetensors(head: bytes, size: int) -> Format:
    filled = fills(head, size)
    if filled is False:
        return Format("safetensors", "unknown", "its header does not say what all of its bytes are")
    return Format("safetensors", "no_code" if filled else None)


def _is_onnx(head: bytes, size: int) -> bool:
    """Walk the fields of a protocol buffer: those of an ONNX model and no others, with a graph among them."""
    place, seen = 0, set[int]()
    while place < len(head):
        key, place = _varint(head, place)
        field, wire = key >> 3, key & 7
        if _ONNX_FIELDS.get(field) != wire:
            return False
        value, place = _varint(head, place)
        seen.add(field)
        place += value if wire == 2 else 0
    return {1, _GRAPH} <= seen and (place == size or (place > len(head) and place <= size))


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data) and shift < 64:
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            break
    return value, place


def _numpy(head: bytes) -> Format:
    """An array of objects is a pickle behind a header; what has another type is numbers."""
    match array_of(head):
        case "numbers":
            return Format("numpy", "no_code")
        case "objects":
            return Format("numpy objects", None)
    return Format("numpy", "unknown", "its header cannot be read")


def walks_as_pickle(data: IO[bytes], seen: int, size: int) -> bool:
    """Whether a pickle loader would come to something that runs, to an end, or to what cannot be seen from here, before it fails.

    Args:
        data: what is seen of a file, `seen` bytes.
        seen: how many.
        size: how many the file has.
    """
    stack: list[object] = []
    try:
        for operation, _argument, _place in pickletools.genops(data):
            if not _stacked(stack, operation):
                return False
            if operation.name in _RUNS:
                return True
    except (ValueError, OverflowError):
        return seen < size and data.tell() >= seen
    return True


def _stacked(stack: list[object], operation: pickletools.OpcodeInfo) -> bool:
    """Take from a stack what an operation takes and put on it what it puts; False where a loader would fail for lack of it."""
    takes = operation.stack_before
    if pickletools.markobject in takes or (operation.name == "POP" and stack[-1:] == [pickletools.markobject]):
        if pickletools.markobject not in stack:
            return False
        while stack.pop() is not pickletools.markobject:
            pass
        takes = takes[: takes.index(pickletools.markobject)] if pickletools.markobject in takes else []
    if len(takes) > len(stack) or pickletools.markobject in stack[len(stack) - len(takes) :]:
        return False
    del stack[len(stack) - len(takes) :]
    stack.extend(operation.stack_after)
    return True
