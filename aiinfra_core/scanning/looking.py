"""The process that looks into files which can hold code: containers are opened, pickles disassembled, nothing is ever loaded.

It is told on standard input where the artifact is and which of its files are meant, and writes a line of JSON when it is done with one. How
long it may take, and what becomes of a file it did not get to, is decided in `process`.
"""

import bz2
import gzip
import io
import json
import lzma
import resource
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

from aiinfra_core.scanning import formats, headers, keras, texts
from aiinfra_core.scanning.besides import besides, said

MOST_MEMORY = 4 * 2**30
MOST_UNPACKED = 2**30
MOST_MEMBERS = 10_000
DEEPEST = 4
MOST_IMPORTS = 50
VERDICTS = ("no_code", "safe", "unknown", "suspicious", "unsafe")
"""From the best to the worst."""
WITHOUT_SCANNER = 'pickles cannot be judged here: install the scanner with pip install "ai-infrastructure[scan]"'
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "lzma": lzma.open}


class TooMuch(Exception):
    """A container holds more than is looked at."""


@dataclass
class Found:
    """What was found in a file so far; `verdict` is the worst there was."""

    format: str
    verdict: str = "no_code"
    imports: list[str] = field(default_factory=list)
    detail: str | None = None

    def worsen(self, verdict: str, imports: list[str], detail: str | None, place: str = "") -> None:
        """Take in what was found in a part."""
        self.imports += [one for one in imports if one not in self.imports]
        if VERDICTS.index(verdict) > VERDICTS.index(self.verdict):
            self.verdict = verdict
            self.detail = f"{place}: {detail}" if place and detail else detail or self.detail


@dataclass
class Budget:
    """How many bytes may still be unpacked of one file."""

    left: int = MOST_UNPACKED

    def whole(self, stream: IO[bytes]) -> bytes:
        """Return everything in a stream."""
        data = stream.read(self.left + 1)
        if len(data) > self.left:
            raise TooMuch(f"it unpacks to more than {MOST_UNPACKED // 2**20} MiB")
        self.left -= len(data)
        return data


def look(stream: IO[bytes], size: int, name: str, budget: Budget, depth: int = 0) -> Found:
    """Return what a file is and what is in it; `stream` can be read from any place."""
    head = stream.read(formats.WHOLE_BYTES)
    kind = formats.told(head, size, name).name
    try:
        stream.seek(0)
        pickle = None if size <= formats.HEAD_BYTES else formats.walks_as_pickle(stream, size, size)
        others = besides(stream, size)
        what = formats.told(head, size, name, pickle=pickle, others=others)
        kind = what.name
        if what.verdict is not None:
            return Found(kind, what.verdict, detail=what.detail)
        if depth > DEEPEST:
            return Found(kind, "unknown", detail="containers lie in each other too deeply")
        found = _look_into(kind, stream, head, size, name, budget, depth)
        if others - {kind}:
            found.worsen("unknown", [], said(others - {kind}))
    except TooMuch as error:
        return Found(kind, "unknown", detail=str(error))
    except MemoryError:
        return Found(kind, "unknown", detail=f"looking into it takes more than {MOST_MEMORY // 2**30} GiB of memory")
    except Exception as error:  # noqa: BLE001 - whatever a broken or hostile file does to a reader: nobody can tell what is in it
        return Found(kind, "unknown", detail=f"it cannot be read as {kind}: {type(error).__name__}")
    return found


def _look_into(kind: str, stream: IO[bytes], head: bytes, size: int, name: str, budget: Budget, depth: int) -> Found:
    stream.seek(0)
    match kind:
        case "pickle":
            found = _pickle(stream, "torch pickle" if head.startswith(_TORCH_LEGACY) else "pickle")
            return found or _other(stream, head, size, name, budget, depth)
        case "numpy objects":
            stream.seek(12 + int.from_bytes(head[8:12], "little") if head[6] > 1 else 10 + int.from_bytes(head[8:10], "little"))
            return _pickle(stream, kind) or Found(kind, "unknown", detail="what follows its header is no pickle")
        case "zip":
            return _zip(stream, budget, depth)
        case "tar":
            return _tar(stream, budget, depth)
        case "gzip" | "bzip2" | "xz" | "lzma" | "zlib":
            data = _unpacked(kind, stream, budget)
            inside = look(io.BytesIO(data), len(data), name, budget, depth + 1)
            return Found(f"{kind} of {inside.format}", inside.verdict, inside.imports, inside.detail)
    return _look_into_whole(kind, stream, head, size, budget)


def _look_into_whole(kind: str, stream: IO[bytes], head: bytes, size: int, budget: Budget) -> Found:
    match kind:
        case "text" | "json" | "keras json":
            return _text(stream, head, budget)
        case "safetensors":
            return _safetensors(stream, head, size)
        case "hdf5":
            return _hdf5(budget.whole(stream))
    return Found(kind, "unknown", detail=f"{kind} cannot be opened here; store what is in it instead, best as safetensors, ONNX or skops")


def _pickle(stream: IO[bytes], kind: str) -> Found | None:
    """Return what a pickle imports, or None where it is none after all."""
    try:
        from picklescan import scanner
    except ImportError:
        return Found(kind, "unknown", detail=WITHOUT_SCANNER)
    start = stream.tell()
    try:
        result = scanner.scan_pytorch(stream, "") if kind == "torch pickle" else scanner.scan_pickle_bytes(stream, "")
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        return Found(kind, "suspicious", detail=f"it is written so that it cannot be read ({type(error).__name__})")
    if not result.globals:
        stream.seek(start)
        rest = stream.seek(0, io.SEEK_END) - start
        stream.seek(start)
        return Found(kind, "safe") if formats.walks_as_pickle(stream, rest, rest) else None
    return _judged(kind, result)


def _judged(kind: str, result: Any) -> Found:
    by_safety: dict[str, list[str]] = {"dangerous": [], "suspicious": [], "innocuous": []}
    for one in result.globals:
        by_safety[one.safety.value].append(f"{one.module} {one.name}"[:200])
    imports = [name for names in by_safety.values() for name in sorted(names)][:MOST_IMPORTS]
    if by_safety["dangerous"]:
        return Found(kind, "unsafe", imports, f"loading it calls {', '.join(sorted(by_safety['dangerous'])[:3])}")
    if by_safety["suspicious"]:
        return Found(
            kind, "suspicious", imports, f"loading it uses {', '.join(sorted(by_safety['suspicious'])[:3])}, which nobody knows here"
        )
    if result.scan_err:
        return Found(kind, "suspicious", imports, "part of it cannot be read, and what it does is not known")
    return Found(kind, "safe", imports)


def _zip(stream: IO[bytes], budget: Budget, depth: int) -> Found:
    with _opened_zip(stream) as opened:
        members = [one for one in opened.infolist() if not one.is_dir()]
        names = {one.filename for one in members}
        kind = _kind_of_zip(names)
        storages = _storages(names) if kind == "torch" else set()
        parts = ((one.filename, partial(opened.open, one)) for one in members if one.filename not in storages)
        return _container(kind, parts, len(members), budget, depth)


def _opened_zip(stream: IO[bytes]) -> zipfile.ZipFile:
    try:  # other readers forgive headers that contradict each other; what they read has to be seen here
        from picklescan.relaxed_zipfile import RelaxedZipFile
    except ImportError:
        return zipfile.ZipFile(stream)
    opened: zipfile.ZipFile = RelaxedZipFile(stream, "r")
    return opened


def _kind_of_zip(names: set[str]) -> str:
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "torch"
    if {"config.json", "metadata.json"} <= names:
        return "keras"
    if "schema.json" in names:
        return "skops"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _storages(names: set[str]) -> set[str]:
    """Return the members of a torch archive that are numbers and read as nothing else."""
    folders = [name.removesuffix("data.pkl") for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    return {name for name in names for folder in folders if name.startswith(f"{folder}data/") and name[len(folder) + 5 :].isdecimal()}


def _tar(stream: IO[bytes], budget: Budget, depth: int) -> Found:
    with tarfile.open(fileobj=stream, mode="r:") as opened:
        members = [one for one in islice(opened, MOST_MEMBERS + 1) if one.isfile()]
        parts = ((one.name, partial(opened.extractfile, one)) for one in members)
        return _container("tar", parts, len(members), budget, depth)


def _container(kind: str, parts: Iterator[tuple[str, Callable[[], IO[bytes] | None]]], count: int, budget: Budget, depth: int) -> Found:
    if count > MOST_MEMBERS:
        raise TooMuch(f"it holds more than {MOST_MEMBERS:,} files")
    found = Found(kind)
    for name, opened in parts:
        with opened() or io.BytesIO() as member:
            data = budget.whole(member)
        if kind == "keras" and name == "config.json":
            inside = _keras(json.loads(data), kind)
        elif kind == "keras" and name == "model.weights.h5" and b"model_config" not in data:
            inside = Found("hdf5 weights")  # Keras reads numbers from it and nothing else
        else:
            inside = look(io.BytesIO(data), len(data), name, budget, depth + 1)
        found.worsen(inside.verdict, inside.imports, inside.detail or inside.format, name)
    return found


def _keras(config: Any, kind: str) -> Found:
    runs = keras.code_in(config)
    if runs:
        return Found(kind, "suspicious", runs[:MOST_IMPORTS], f"loading it makes {', '.join(runs[:3])}")
    return Found(kind, "safe")


def _text(stream: IO[bytes], head: bytes, budget: Budget) -> Found:
    what = formats.text(head, texts.read(iter(partial(stream.read, formats.WHOLE_BYTES), b"")))
    if what.verdict is not None:
        return Found(what.name, what.verdict, detail=what.detail)
    stream.seek(0)
    try:
        config = json.loads(budget.whole(stream))
    except ValueError:
        return (
            Found("json", "unknown", detail="it cannot be read as JSON")
            if what.name != "json"
            else Found("yaml", "suspicious", detail=texts.TAGGED)
        )
    return _keras(config, what.name) if what.name != "json" else Found("json")


def _hdf5(data: bytes) -> Found:
    """A Keras model keeps its configuration as JSON in an attribute; what others keep in such a file may be pickles."""
    runs = keras.code_in_hdf5(data)
    if runs is None:
        return Found("hdf5", "unknown", detail="it is no model of Keras, or not every configuration in it can be read")
    return Found(
        "keras hdf5", "suspicious" if runs else "safe", runs[:MOST_IMPORTS], f"loading it makes {', '.join(runs[:3])}" if runs else None
    )


def _safetensors(stream: IO[bytes], head: bytes, size: int) -> Found:
    header = stream.read(8 + int.from_bytes(head[:8], "little"))
    return Found("safetensors", "no_code" if headers.fills(header, size) else "unknown")


def _unpacked(kind: str, stream: IO[bytes], budget: Budget) -> bytes:
    if kind in _OPENERS:
        return budget.whole(_OPENERS[kind](stream))
    inflating = zlib.decompressobj()
    data = inflating.decompress(stream.read(), budget.left + 1)
    return budget.whole(io.BytesIO(data))


def _other(stream: IO[bytes], head: bytes, size: int, name: str, budget: Budget, depth: int) -> Found:
    what = formats.told(head, size, name, pickle=False, others=besides(stream, size))
    if what.verdict is None:
        return _look_into(what.name, stream, head, size, name, budget, depth)
    return Found(what.name, what.verdict, detail=what.detail)


def _plain(text: str) -> str:
    return text.encode("unicode_escape").decode()[:500]


def main() -> None:
    """Look into what standard input names."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = json.load(sys.stdin)
    for name in asked["files"]:
        path = Path(asked["root"], name) if name else Path(asked["root"])
        with path.open("rb") as stream:
            found = look(stream, path.stat().st_size, name or asked["name"], Budget())
        imports, detail = [_plain(one) for one in found.imports[:MOST_IMPORTS]], found.detail and _plain(found.detail)
        answer = {"file": name, "format": found.format, "verdict": found.verdict, "imports": imports, "detail": detail}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
