"""Reading an export directory nobody vouches for: only what the layout knows, never out of the directory, never more than fits."""

import os
from pathlib import Path

import pytest

from aiinfra_core.errors import BadInput, NotFound
from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.verification.report import Step


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "export"
    (made / "model").mkdir(parents=True)
    (made / "model" / "weights").write_text("1")
    (made / bundle.STATEMENT).write_text("{}")
    return made


def test_what_belongs_there_is_read_and_nothing_is_refused(folder: Path) -> None:
    found = bundle.read(folder)
    assert (dict(found.files), found.model, dict(found.refused)) == ({bundle.STATEMENT: b"{}"}, ("weights",), {})


def test_links_are_told_and_never_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "00000000000000000001.json").write_text("secret")
    (folder / "checkpoint").symlink_to(tmp_path / "secret")
    (folder / "events").symlink_to(tmp_path / "events")
    (folder / "model" / "more").symlink_to(tmp_path)
    found = bundle.read(folder)
    assert found.refused.keys() == {"checkpoint", "events", "model/more"}
    assert b"secret" not in found.files.values()
    assert found.model == ("weights",)


def test_special_files_do_not_hold_the_reader_up(folder: Path) -> None:
    os.mkfifo(folder / "checkpoint")
    os.mkfifo(folder / "model" / "pipe")
    assert bundle.read(folder).refused.keys() == {"checkpoint", "model/pipe"}


def test_a_file_that_is_too_large_is_not_read_to_its_end(folder: Path) -> None:
    with (folder / "checkpoint").open("wb") as file:
        file.truncate(10 * 2**30)
    found = bundle.read(folder)
    assert found.refused.keys() == {"checkpoint"}
    assert "checkpoint" not in found.files


@pytest.mark.parametrize(
    "name", ["more", "events/1.json", "model/a\nb", "model/-/x\\y", "trust/0.root.json", "attestations/x.dsse.json", "-"]
)
def test_names_the_layout_does_not_know_are_told(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("{}")
    assert list(bundle.read(folder).refused) == [name]


def test_an_undecodable_name_is_told(folder: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/model/\xff"))).write_text("1")
    (refused,) = bundle.read(folder).refused
    assert refused.encode().isascii()


def test_empty_folders_are_told_because_no_sum_records_them(folder: Path) -> None:
    (folder / "model" / "layers").mkdir()
    (folder / "proofs").mkdir()
    assert bundle.read(folder).refused.keys() == {"model/layers/", "proofs/"}


def test_what_is_no_export_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    with pytest.raises(NotFound):
        bundle.read(tmp_path / "missing")
    for name in ("file", "empty", "other"):
        with pytest.raises(BadInput, match=name):
            bundle.read(tmp_path / name)


def test_a_model_that_changes_its_kind_while_it_is_hashed_is_refused(folder: Path) -> None:
    found = bundle.read(folder)
    (folder / "model" / "weights").unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        bundle.hash_model(found)
    os.mkfifo(folder / "model" / "weights")
    with pytest.raises(BadInput, match="no regular file"):
        bundle.hash_model(found)


def test_a_problem_cannot_steer_a_terminal_or_fill_it() -> None:
    step = Step(2)
    step.add("events/\x1b[2J\n", "\x1b]0;owned\x07" + "x" * 10_000)
    assert step.problems[0].place == "events/?[2J?"
    assert step.detail.isprintable()
    assert len(step.detail) <= 400


def test_whatever_breaks_while_checking_is_a_problem_at_its_place() -> None:
    step = Step(9)
    with step.at("events/1.json"):
        raise KeyError("row")
    assert (step.place, step.failed) == ("events/1.json", True)
    step.does_not_apply("nothing to check")
    assert step.failed
