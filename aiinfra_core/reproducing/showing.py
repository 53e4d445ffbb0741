"""What of a difference a person can read: the values of a JSON document, the lines of a text, the members of a zip file."""

import json
import zipfile
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

READABLE_BYTES = 4 * 2**20
MOST_SHOWN = 10
_MOST_LETTERS = 120
_NOTHING = object()


def shown(registered: Path, reproduced: Path) -> list[str]:
    """Return up to ten lines, each one difference, `where: before -> after`; none where a person could read nothing."""
    if zipfile.is_zipfile(registered) and zipfile.is_zipfile(reproduced):
        return list(islice(_members(registered, reproduced), MOST_SHOWN))
    before, after = text_of(registered), text_of(reproduced)
    if before is None or after is None:
        return []
    try:
        found = list(islice(_values("", json.loads(before), json.loads(after)), MOST_SHOWN))
    except (ValueError, RecursionError):
        return list(islice(_lines(before, after), MOST_SHOWN))
    return found or ["the same JSON, written in another order or spacing"]


def text_of(path: Path) -> str | None:
    """Return a file's text; None where it is large or no text."""
    if path.stat().st_size > READABLE_BYTES:
        return None
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def members(path: Path) -> dict[str, tuple[int, int, tuple[int, int, int, int, int, int]]]:
    """Return name -> CRC, size and time of each member of a zip file; nothing where it cannot be read."""
    try:
        with zipfile.ZipFile(path) as file:
            return {one.filename: (one.CRC, one.file_size, one.date_time) for one in file.infolist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):  # a model may be anything; the report shows its bytes then
        return {}


def _members(registered: Path, reproduced: Path) -> Iterator[str]:
    before, after = members(registered), members(reproduced)
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            yield _line(name, "there" if name in before else "not there", "there" if name in after else "not there")
        elif before[name][:2] != after[name][:2]:
            yield _line(name, f"CRC {before[name][0]:08x}, {before[name][1]} bytes", f"CRC {after[name][0]:08x}, {after[name][1]} bytes")
        elif before[name][2] != after[name][2]:
            yield _line(f"the time of {name}", _moment(before[name][2]), _moment(after[name][2]))


def _values(place: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _values(f"{place}.{key}" if place else key, before.get(key, _NOTHING), after.get(key, _NOTHING))
    elif isinstance(before, list) and isinstance(after, list):
        for number, (one, other) in enumerate(zip_longest(before, after, fillvalue=_NOTHING)):
            yield from _values(f"{place}[{number}]", one, other)
    elif before != after or type(before) is not type(after):
        yield _line(place or "all of it", *_told(before, after))


def _lines(before: str, after: str) -> Iterator[str]:
    for number, (one, other) in enumerate(zip_longest(before.splitlines(), after.splitlines(), fillvalue=_NOTHING), start=1):
        if one != other:
            yield _line(f"line {number}", *_told(one, other))


# Of long texts, what is around the first letter that differs.
def _told(before: Any, after: Any) -> tuple[str, str]:
    one, other = (value if isinstance(value, str) else "nothing" if value is _NOTHING else json.dumps(value) for value in (before, after))
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    begin = max(0, same - _MOST_LETTERS // 4) if max(len(one), len(other)) > _MOST_LETTERS else 0
    dots = "…" if begin else ""
    return dots + _cut(one[begin:]), dots + _cut(other[begin:])


def _line(where: str, before: str, after: str) -> str:
    return f"{_cut(where)}: {before} -> {after}"


def _cut(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: _MOST_LETTERS + 1])
    return plain if len(plain) <= _MOST_LETTERS else f"{plain[:_MOST_LETTERS]}…"


def _moment(parts: tuple[int, ...]) -> str:
    return "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(*parts)
