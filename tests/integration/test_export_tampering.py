"""Somebody changes an export on its way to the auditor: whatever the file and whatever is done to it, it is found and the place named.

The cases are enumerated from the directory itself, so a new file of the layout is covered.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiinfra_core.cli.app import main
from aiinfra_core.evidence import bundle
from tests.simulators import exports
from tests.simulators.exports import Known, checked, copied, problems, signed_again
from tests.simulators.tampering import EDITS, fitting, list_again, tampered

known = exports.known
pytestmark = pytest.mark.timeout(1800)


# Whoever exports vouches for these alone: their contents follow from what else is there, or are for people.
SAID_BY_THE_EXPORT_ALONE = (bundle.README, bundle.SCRIPT, bundle.BOM, bundle.STATEMENT, bundle.FILES, bundle.SUMS)
OPTIONAL = ("consistency", "bundles", "trust/1.root.json")
# A TUF signature is over the canonical form of what is signed: around it, these change nothing that is said.
SPELLINGS = ("longer", "spelled otherwise", "one more field")


@pytest.fixture(scope="module")
def received(known: Known) -> Iterator[tuple[Path, Path]]:
    """Give a copy of an export that may be changed, and the pinned root."""
    folder = copied(known.export, known.export.with_name("received"))
    yield folder, known.pinned
    shutil.rmtree(folder)


def _cases(folder: Path, every: bool) -> Iterator[tuple[Path, str]]:
    """Yield each file with each edit that fits; without `every`, two files of a kind, each with every third edit."""
    seen: dict[str, int] = {}
    for number, path in enumerate(sorted(one for one in folder.rglob("*") if one.is_file())):
        kind = path.relative_to(folder).parts[0] if path.parent != folder else path.name
        seen[kind] = seen.get(kind, 0) + 1
        if every or seen[kind] <= 2:
            edits = list(fitting(path))
            yield from ((path, edit) for place, edit in enumerate(edits) if every or (place + number) % 3 == 0)


def _contents(folder: Path) -> dict[str, bytes | None]:
    """Return what every file holds; a folder, a pipe and a link that leads nowhere hold nothing."""
    return {one.relative_to(folder).as_posix(): one.read_bytes() if one.is_file() else None for one in folder.rglob("*")}


def _undetected(received: tuple[Path, Path], every: bool, sums_too: bool) -> tuple[list[str], int]:
    folder, pinned = received
    missed, tried = [], 0
    before = _contents(folder)
    for path, edit in list(_cases(folder, every)):
        name = path.relative_to(folder).as_posix()
        if sums_too and name in (bundle.FILES, bundle.SUMS):
            continue  # listing anew would undo it
        with tampered(folder, path, edit, sums_too=sums_too):
            report = checked(folder, pinned)
            changed = dict(_contents(folder).items() - before.items())
        tried, found = tried + 1, problems(report)
        named = any(place in one for one in found for place in (name, *changed))
        if report.passed or not (named or sums_too):
            missed.append(f"{edit}: {name}: {found[:3]}")
    return missed, tried


def test_a_change_to_any_kind_of_file_is_found_and_the_file_is_named(received: tuple[Path, Path]) -> None:
    missed, tried = _undetected(received, every=False, sums_too=False)
    assert missed == []
    assert tried > 90


def test_so_is_one_by_somebody_who_lists_the_sums_anew(received: tuple[Path, Path]) -> None:
    missed, tried = _undetected(received, every=False, sums_too=True)
    assert missed == []
    assert tried > 80


@pytest.mark.slow
@pytest.mark.parametrize("sums_too", [False, True])
def test_every_change_to_every_file_is_found(received: tuple[Path, Path], sums_too: bool) -> None:
    missed, tried = _undetected(received, every=True, sums_too=sums_too)
    assert missed == []
    assert tried > 700


def test_every_kind_of_change_is_tried_in_the_sample(received: tuple[Path, Path]) -> None:
    assert {edit for _, edit in _cases(received[0], every=False)} == set(EDITS)


@pytest.mark.parametrize(
    "name", ["new.txt", "model/new.bin", "attestations/new", "events/00000000000000000999.json", "more/x", "-", "a\\b"]
)
def test_a_file_that_was_added_is_found_also_when_it_is_listed(received: tuple[Path, Path], name: str) -> None:
    folder, pinned = received
    for listed in (False, True):
        path = folder / name
        made = not path.parent.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
        sums = [(folder / one).read_bytes() for one in (bundle.FILES, bundle.SUMS)]
        if listed and "\\" not in name and name != "-":
            list_again(folder)
        report = checked(folder, pinned)
        path.unlink()
        if made:
            path.parent.rmdir()
        for one, data in zip((bundle.FILES, bundle.SUMS), sums, strict=True):
            (folder / one).write_bytes(data)
        assert not report.passed
        assert any(name in one or bundle.STATEMENT in one or "model" in one for one in problems(report))


def test_an_empty_folder_that_was_added_is_found(received: tuple[Path, Path]) -> None:
    folder, pinned = received
    (folder / "events" / "more").mkdir()
    report = checked(folder, pinned)
    (folder / "events" / "more").rmdir()
    assert any("events/more" in one for one in problems(report))


def test_the_command_line_names_the_place_and_ends_with_5(received: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, pinned = received
    path = next((folder / "events").iterdir())
    with tampered(folder, path, "a third in"):
        assert main(["verify", str(folder), "--trust-root", str(pinned)]) == 5
    out = capsys.readouterr().out
    assert "FAILED" in out
    assert f"events/{path.name}" in out
    assert "does not verify" in out
    assert "Proven" not in out


def _believed(known: Known, folder: Path, every: bool) -> list[str]:
    """Return the changes that an export signed anew after them gets away with."""
    believed = []
    for path, edit in list(_cases(folder, every)):
        name = path.relative_to(folder).as_posix()
        if name in SAID_BY_THE_EXPORT_ALONE or (edit == "deleted" and name.startswith(OPTIONAL)):
            continue
        if name.startswith("trust/") and not name.endswith("trust.json") and edit in SPELLINGS:
            continue
        with tampered(folder, path, edit):
            report = checked(signed_again(folder, known.settings), known.pinned)
        if report.passed:
            believed.append(f"{edit}: {name}")
    return believed


def test_a_change_is_found_also_in_an_export_that_was_signed_anew_after_it(received: tuple[Path, Path], known: Known) -> None:
    assert _believed(known, received[0], every=False) == []


@pytest.mark.slow
def test_so_is_every_one_of_all_the_others(received: tuple[Path, Path], known: Known) -> None:
    assert _believed(known, received[0], every=True) == []
