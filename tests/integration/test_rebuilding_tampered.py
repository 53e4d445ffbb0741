"""An archive somebody tampered with: a rebuild is refused, the place is named, and the database stays as empty as it was."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiinfra_core import rebuilding
from aiinfra_core.evidence import entry
from tests.simulators.archive_forger import edit, entries, key_in, overwrite, put_value, read
from tests.simulators.lost_database import Lost, lost, refusal

__all__ = ["lost"]

Tamper = Callable[[Path], str]
"""Does it to an archive, and returns the beginning of what the refusal must say."""


def _check_each(lost: Lost, tmp_path: Path, cases: dict[str, Tamper]) -> None:
    for number, (name, tamper) in enumerate(cases.items()):
        archive = tmp_path / f"tampered-{number}"
        shutil.copytree(lost.archive, archive)
        expected = tamper(archive)
        said = refusal(lost, archive)
        assert said.startswith(expected), f"{name}: {said!r} instead of {expected!r}"
    assert rebuilding.rebuild(lost.empty, lost.address).head.seq == len(lost.entries())


def _other(column: str, value: Any) -> Any:
    match value:
        case int():
            return value + 1
        case None:
            return "00" * 32
        case str() if column in ("created_at", "ts"):
            return value.replace("Z", "").rstrip("0123456789") + "000001Z"
    if column in ("payload", "metadata"):
        return value.replace("}", ',"zz":1}') if value != "{}" else '{"zz":1}'
    return value[:-2] + ("aa" if value[-2:] != "aa" else "bb")


def test_any_column_of_any_entry_edited_is_found_and_named(lost: Lost, tmp_path: Path) -> None:
    def edited(position: int, column: str) -> Tamper:
        def tamper(archive: Path) -> str:
            path = entries(archive)[position]
            edit(path, **{column: _other(column, read(path)[column])})
            return key_in(archive, path)

        return tamper

    cases = {
        f"{column} of entry {position}": edited(position, column) for column in entry.COLUMNS for position in (0, 5, -1) if column != "seq"
    }
    _check_each(lost, tmp_path, cases)


def _seq_edited(archive: Path) -> str:
    path, claimed = entries(archive)[4], entries(archive)[5]
    edit(path, seq=6)
    return f"audit/{key_in(archive, claimed)[6:16]}"


def _spelled_otherwise(archive: Path) -> str:
    path = entries(archive)[2]
    overwrite(path, path.read_bytes().replace(b'"seq":', b'"seq": '))
    return f"{key_in(archive, path)}: it is not written the one way"


def _first_missing(archive: Path) -> str:
    first, second, *_ = entries(archive)
    first.unlink()
    return f"{key_in(archive, second)}: seq 1 is missing"


def _middle_missing(archive: Path) -> str:
    third, fourth = entries(archive)[2:4]
    third.unlink()
    return f"{key_in(archive, fourth)}: seq 3 is missing"


def _last_missing(archive: Path) -> str:
    *before, last = entries(archive)
    last.unlink()
    return f"checkpoint {len(before) + 1}: it covers {len(before) + 1} events, the archive has {len(before)}"


def _emptied(archive: Path) -> str:
    path = entries(archive)[1]
    overwrite(path, b"")
    return key_in(archive, path)


def _everything_missing(archive: Path) -> str:
    shutil.rmtree(archive / "audit")
    return "There is no archive at"


def _copied(archive: Path) -> str:
    path = entries(archive)[3]
    name = "00000000-0000-5000-8000-000000000000.json"
    shutil.copy(path, path.with_name(name))
    return f"{key_in(archive, path.with_name(name))}: it holds the entry that belongs to {key_in(archive, path)}"


def _copied_with_an_id_of_its_own(archive: Path) -> str:
    path = entries(archive)[3]
    copy = path.with_name("ffffffff-ffff-5fff-bfff-ffffffffffff.json")
    shutil.copy(path, copy)
    edit(copy, id=copy.stem)
    return f"audit/{key_in(archive, path)[6:16]}/"


def _swapped(archive: Path) -> str:
    one, other = entries(archive)[2:4]
    first, second = one.read_bytes(), other.read_bytes()
    overwrite(one, second)
    overwrite(other, first)
    return f"audit/{key_in(archive, one)[6:16]}/"


def _moved_to_another_day(archive: Path) -> str:
    path = entries(archive)[2]
    elsewhere = archive / "audit/2020/01/01" / path.name
    elsewhere.parent.mkdir(parents=True)
    path.rename(elsewhere)
    return f"{key_in(archive, elsewhere)}: it holds the entry that belongs to {key_in(archive, path)}"


def _extra(name: str, place: str) -> Tamper:
    def tamper(archive: Path) -> str:
        day = key_in(archive, entries(archive)[0].parent)
        overwrite(archive / name.format(day=day), b"{}")
        return f"{place.format(day=day)}: it is no part of an archive"

    return tamper


# What is put there, and where it is noticed.
EXTRA_FILES = {
    "{day}/notes.txt": "{day}/notes.txt",
    "{day}/.hidden": "{day}/.hidden",
    "{day}/more/x.json": "{day}/more/",
    "audit/README": "audit/README",
    "audit/2026/notes": "audit/2026/notes",
    "audit/2026/13/01/x.json": "audit/2026/13/",
    "audit/2026/01/32/x.json": "audit/2026/01/32/",
    "audit/26/x": "audit/26/",
}


def _linked(archive: Path) -> str:
    path = entries(archive)[2]
    target = archive.parent / f"{archive.name}-target"
    path.rename(target)
    path.symlink_to(target)
    return key_in(archive, path)


def test_entries_missing_doubled_swapped_moved_or_added_are_found_and_named(lost: Lost, tmp_path: Path) -> None:
    cases: dict[str, Tamper] = {
        "another place claimed": _seq_edited,
        "another spelling": _spelled_otherwise,
        "the first missing": _first_missing,
        "one missing": _middle_missing,
        "the last missing": _last_missing,
        "an empty one": _emptied,
        "nothing there": _everything_missing,
        "a copy": _copied,
        "a copy with an id of its own": _copied_with_an_id_of_its_own,
        "two swapped": _swapped,
        "moved to another day": _moved_to_another_day,
        "a link": _linked,
    }
    cases |= {f"the extra file {name}": _extra(name, place) for name, place in EXTRA_FILES.items()}
    _check_each(lost, tmp_path, cases)


def _values(archive: Path) -> list[Path]:
    return sorted((archive / "audit/values").iterdir())


def _value(harm: Callable[[Path, Path], None]) -> Tamper:
    def tamper(archive: Path) -> str:
        one, other = _values(archive)[:2]
        harm(one, other)
        return "audit/values/"

    return tamper


def test_values_missing_changed_or_swapped_are_found_and_named(lost: Lost, tmp_path: Path) -> None:
    def swap(one: Path, other: Path) -> None:
        first, second = one.read_bytes(), other.read_bytes()
        overwrite(one, second)
        overwrite(other, first)

    harms: dict[str, Callable[[Path, Path], None]] = {
        "missing": lambda one, _: one.unlink(),
        "changed": lambda one, _: overwrite(one, one.read_bytes()[:-1] + b"!"),
        "longer": lambda one, _: overwrite(one, one.read_bytes() + b"!"),
        "empty": lambda one, _: overwrite(one, b""),
        "swapped": swap,
    }
    _check_each(lost, tmp_path, {name: _value(harm) for name, harm in harms.items()})


def test_a_value_that_nothing_names_changes_nothing(lost: Lost) -> None:
    put_value(lost.archive, b"of an event that was not delivered any more")
    assert rebuilding.rebuild(lost.empty, lost.address).head.seq == len(lost.entries())
