"""Ways to tamper with a directory of files, as an attacker could who holds every file of it but no key."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from aiinfra_core.checksums import sums_text
from aiinfra_core.evidence import bundle

Tamper = Callable[[Path], object]


def _flip(place: float) -> Tamper:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[min(int(len(data) * place), len(data) - 1)] ^= 1
        path.write_bytes(data)

    return flip


def _spelled_otherwise(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))


def _with_one_more_field(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"more": 1}, separators=(",", ":"), sort_keys=True))


def _swapped(path: Path) -> None:
    other = next(one for one in sorted(path.parent.iterdir()) if one.is_file() and one != path and one.read_bytes() != path.read_bytes())
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def _linked(path: Path) -> None:
    export = next(parent for parent in path.parents if (parent / "events").is_dir())
    outside = export.with_name(f"outside-{len(list(export.parent.iterdir()))}")
    path.rename(outside)
    path.symlink_to(outside)


def _replaced_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").write_text("x")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


EDITS: dict[str, Tamper] = {
    "first byte": _flip(0),
    "a third in": _flip(1 / 3),
    "two thirds in": _flip(2 / 3),
    "last byte": _flip(1),
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "halved": lambda path: os.truncate(path, path.stat().st_size // 2),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "deleted": Path.unlink,
    "a link": _linked,
    "a folder": _replaced_by_folder,
    "a pipe": _fifo,
    "copied under another name": lambda path: shutil.copy(path, path.with_name(f"{path.name}.copy")),
    "copied under a name of the layout": lambda path: shutil.copy(path, path.with_name(_next_name(path.name))),
    "swapped": _swapped,
    "spelled otherwise": _spelled_otherwise,
    "one more field": _with_one_more_field,
}


def fitting(path: Path) -> Iterator[str]:
    """Yield the names of the edits that make sense for a file."""
    is_json = path.read_bytes()[:1] == b"{"
    siblings = [one for one in path.parent.iterdir() if one.is_file() and one.suffix == path.suffix]
    for name in EDITS:
        if name in ("spelled otherwise", "one more field") and not is_json:
            continue
        if name == "swapped" and len(siblings) < 2:
            continue
        if name == "copied under a name of the layout" and _next_name(path.name) == path.name:
            continue
        yield name


@contextmanager
def tampered(folder: Path, path: Path, edit: str, *, sums_too: bool = False) -> Iterator[None]:
    """Tamper with one file of an export and put everything back afterwards."""
    kept = folder.with_name(f"{folder.name}.kept")
    shutil.copytree(folder, kept)
    try:
        EDITS[edit](path)
        if sums_too:
            list_again(folder)
        yield
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)


def list_again(folder: Path) -> None:
    """Write both lists of sums anew, as somebody would who wants to hide a change."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    sums = {name: sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
    model = {name.removeprefix("model/"): digest for name, digest in sums.items() if name.startswith("model/")}
    (folder / bundle.SUMS).write_bytes(sums_text(model))
    sums[bundle.SUMS] = sha256((folder / bundle.SUMS).read_bytes()).hexdigest()
    others = {
        name: digest for name, digest in sums.items() if not name.startswith("model/") and name not in (bundle.FILES, bundle.STATEMENT)
    }
    (folder / bundle.FILES).write_bytes(sums_text(others))


def _next_name(name: str) -> str:
    """Return a name of the same kind: the last digit before the extension, one further."""
    stem, dot, rest = name.partition(".")
    return f"{stem[:-1]}{'1' if stem[-1] == '0' else '0'}{dot}{rest}" if stem[-1:] in "0123456789abcdef" and len(stem) > 5 else name
