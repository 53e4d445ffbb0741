"""Two artifacts compared file by file: what is missing or extra, which bytes differ, and what of that a person can read.

Why they differ is asked in `causes`.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiinfra_core import checksums
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.reproducing import showing

BLOCK_BYTES = 2**20
MOST_FILES = 50


@dataclass(frozen=True)
class Pair:
    """A file as it was registered and as it came out again; None where there is none."""

    name: str
    registered: Path | None
    reproduced: Path | None


def measured(place: Path) -> dict[str, Any]:
    """Return digest kind, checksum and size of a file or directory, as the artifact store would have them."""
    files = _files(place)
    size = sum(path.stat().st_size for path in files.values())
    if not place.is_dir():
        return {"digestKind": DigestKind.FILE.value, "checksum": _sha256(place), "sizeBytes": size}
    digest = checksums.directory_digest({name: _sha256(path) for name, path in files.items()})
    return {"digestKind": DigestKind.DIRECTORY.value, "checksum": digest, "sizeBytes": size}


def differing(registered: Path, reproduced: Path) -> list[Pair]:
    """Return the files that are not the same on both sides, by name.

    A model of one file is kept without its name: beside several, the one that is most like it is taken for it.
    """
    before, after = _files(registered), _files(reproduced)
    if not registered.is_dir():
        before = {_most_like(registered, after): registered}
    elif not reproduced.is_dir():
        after = {_most_like(reproduced, before) if reproduced.name not in before else reproduced.name: reproduced}
    pairs = [Pair(name, before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())]
    return [pair for pair in pairs if not _same(pair)]


def described(pair: Pair) -> dict[str, Any]:
    """Return how a file differs: sizes, digests, the first byte that differs, how many do, and what of it can be read."""
    about: dict[str, Any] = {
        "name": pair.name,
        "kind": "missing" if pair.reproduced is None else "extra" if pair.registered is None else "changed",
        "registered": _about(pair.registered),
        "reproduced": _about(pair.reproduced),
    }
    if pair.registered and pair.reproduced:
        first, count = _where(pair.registered, pair.reproduced)
        about |= {"firstDifference": first, "differentBytes": count, "shown": showing.shown(pair.registered, pair.reproduced)}
    return about


def blocks(registered: Path, reproduced: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the blocks of two files that differ, each with where it begins."""
    with registered.open("rb") as one, reproduced.open("rb") as other:
        at = 0
        while (before := one.read(BLOCK_BYTES)) or other.peek(1):
            after = other.read(BLOCK_BYTES)
            if before != after:
                yield at, before, after
            at += BLOCK_BYTES


def unequal(before: bytes, after: bytes) -> bytes:
    """Return, for each byte both have, zero where they are equal."""
    length = min(len(before), len(after))
    return (int.from_bytes(before[:length]) ^ int.from_bytes(after[:length])).to_bytes(length)


def _where(registered: Path, reproduced: Path) -> tuple[int | None, int]:
    first, count = None, 0
    for at, before, after in blocks(registered, reproduced):
        marks = unequal(before, after)
        if first is None:
            first = at + len(marks) - len(marks.lstrip(b"\0"))
        count += len(marks) - marks.count(0) + abs(len(before) - len(after))
    return first, count


def _files(place: Path) -> dict[str, Path]:
    if not place.is_dir():
        return {place.name: place}
    return {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}


def _most_like(one: Path, others: dict[str, Path]) -> str:
    if len(others) > 1:
        digest, size = _sha256(one), one.stat().st_size
        return min(others, key=lambda name: (_sha256(others[name]) != digest, abs(others[name].stat().st_size - size), name))
    return next(iter(others), one.name)


def _same(pair: Pair) -> bool:
    if pair.registered is None or pair.reproduced is None:
        return False
    return pair.registered.stat().st_size == pair.reproduced.stat().st_size and not any(blocks(pair.registered, pair.reproduced))


def _about(path: Path | None) -> dict[str, Any] | None:
    return None if path is None else {"sizeBytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
