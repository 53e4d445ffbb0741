"""A trust directory under adversity: writers that are killed, readers in between, files that are no files."""

import threading
from pathlib import Path

import pytest

from aiinfra_core import trust_directory
from aiinfra_core.domain.trust import Purpose, Trust
from aiinfra_core.errors import Conflict, EvidenceBroken, Misconfigured, NotFound
from aiinfra_core.evidence import trust_editing
from aiinfra_core.evidence.root_editing import RootPlan
from aiinfra_core.trusting import changing, directory
from tests.simulators.trust_files import plan, signer, trust_of, trusted


class Killed(BaseException):
    """Ends a writer where it stands."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "trust"
    changing.begin(made, plan("alice"), trust_of(trusted("ci")), signers=[signer("alice")], targets_signer=signer("targets"))
    return made


def _rotated(folder: Path) -> changing.Standing:
    """Rotate to Bob with a new targets key, which changes a root and the targets at once."""
    return changing.rotate_root(folder, lambda _: plan("bob", targets="new"), [signer("alice"), signer("bob")], signer("new"), replace=True)


def _killed_after(writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    left, write = [writes], directory._write

    def counted(path: Path, data: bytes) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        write(path, data)

    monkeypatch.setattr(directory, "_write", counted)


@pytest.mark.parametrize("writes", range(7))
def test_killed_anywhere_in_a_rotation_the_next_command_finishes_or_begins_anew(
    folder: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _killed_after(writes, patch)
        _rotated(folder)
    with directory.locked(folder):
        pass
    found = changing.standing(folder)
    assert found.opened is not None
    assert (found.opened.root_version, found.opened.targets_version) in ((1, 1), (2, 2))
    if found.opened.root_version == 1:
        assert _rotated(folder).opened is not None
    else:
        assert found.waiting is None
    assert trust_directory.opened(folder / "1.root.json").root_version == 2


@pytest.mark.parametrize("writes", range(3))
def test_killed_anywhere_in_a_change_readers_have_the_old_or_the_new_trust(
    folder: Path, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        _killed_after(writes, patch)
        changing.change(folder, lambda it: trust_editing.with_key(it, trusted("new", Purpose.AUDIT)), signer("targets"))
    found = trust_directory.opened(folder / "1.root.json")
    assert (found.targets_version, len(found.trust.keys)) == ((1, 1) if writes < 2 else (2, 2))
    again = changing.change(folder, lambda it: trust_editing.with_key(it, trusted("new", Purpose.AUDIT)), signer("targets"))
    assert again.opened is not None
    assert again.opened.targets_version == 2


def test_readers_never_meet_a_half_written_trust(folder: Path) -> None:
    stop, seen = threading.Event(), set()

    def read() -> None:
        while not stop.is_set():
            trust_directory._opened.clear()
            seen.add(trust_directory.opened(folder / "1.root.json").targets_version)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(25):
        changing.change(folder, lambda it, number=number: trust_editing.with_log(it, f"log-{number}.example"), signer("targets"))  # type: ignore[misc]
    stop.set()
    for reader in readers:
        reader.join()
    assert seen
    assert all(reader.is_alive() is False for reader in readers)
    assert trust_directory.opened(folder / "1.root.json").targets_version == 26


def test_two_writers_do_not_lose_a_change(folder: Path) -> None:
    def add(number: int) -> None:
        changing.change(folder, lambda it: trust_editing.with_log(it, f"log-{number}.example"), signer("targets"))

    writers = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = trust_directory.opened(folder / "1.root.json")
    assert (len(found.trust.logs), found.targets_version) == (9, 9)


def test_a_change_that_changes_nothing_makes_no_version(folder: Path) -> None:
    same = changing.change(folder, lambda it: it, signer("targets"))
    assert same.opened is not None
    assert same.opened.targets_version == 1


def test_a_key_that_is_not_the_targets_key_changes_nothing(folder: Path) -> None:
    before = trust_directory.read(folder)
    with pytest.raises(Exception, match="is not the root's targets key"):
        changing.change(folder, lambda it: trust_editing.with_log(it, "another.example"), signer("alice"))
    assert trust_directory.read(folder) == before


def test_a_pinned_file_must_be_a_root_of_its_directory(folder: Path, tmp_path: Path) -> None:
    for pinned in (folder / "targets.json", folder / "2.root.json", folder / "root.json"):
        with pytest.raises(Misconfigured, match=r"must name an N\.root\.json"):
            trust_directory.opened(pinned)
    with pytest.raises(Misconfigured, match="cannot be read"):
        trust_directory.opened(tmp_path / "nowhere" / "1.root.json")
    (folder / "2.root.json").mkdir()
    with pytest.raises(Misconfigured, match="cannot be read"):
        trust_directory.opened(folder / "1.root.json")


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Misconfigured, match="cannot be written"):
        changing.begin(tmp_path / "file" / "trust", plan("alice"), trust_of(), signers=[], targets_signer=signer("targets"))


def test_what_is_there_is_not_begun_again_and_what_is_not_there_is_not_changed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        changing.begin(folder, plan("alice"), trust_of(), signers=[signer("alice")], targets_signer=signer("targets"))
    for nothing in (tmp_path / "nothing", folder.parent):
        with pytest.raises(NotFound):
            changing.standing(nothing)
    with pytest.raises(NotFound, match="No root in"):
        changing.sign(folder, [signer("alice")], None)


def test_a_broken_directory_is_changed_by_nobody(folder: Path) -> None:
    (folder / "1.root.json").write_bytes(b"{}")
    with pytest.raises(EvidenceBroken):
        changing.change(folder, lambda it: trust_editing.with_log(it, "another.example"), signer("targets"))
    with pytest.raises(EvidenceBroken):
        _rotated(folder)


def test_a_plan_whose_targets_key_is_another_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="is not the root's targets key"):
        changing.begin(
            tmp_path / "trust",
            RootPlan((signer("alice").public_key,), 1, signer("other").public_key),
            Trust(keys=(), logs=("test.example/log",)),
            signers=[signer("alice")],
            targets_signer=signer("targets"),
        )
    assert list((tmp_path / "trust").glob("*.json")) == []
