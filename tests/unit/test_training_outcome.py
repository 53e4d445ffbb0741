"""What a training wrote is taken only when it is what it should be."""

import os
import socket
from pathlib import Path

import pytest

from aiinfra_core.errors import BadInput
from aiinfra_core.training import outcome


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("code", "datasets", "output", "tmp", "home"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "code" / "train.py").write_text("pass")
    return tmp_path / "run"


def test_one_file_is_the_output_itself(folder: Path) -> None:
    (folder / "output" / "model.json").write_text("{}")
    assert outcome.find_output(folder) == folder / "output" / "model.json"


@pytest.mark.parametrize("others", [["b"], ["part/b"]])
def test_several_files_make_the_output_a_directory(folder: Path, others: list[str]) -> None:
    for name in ["a", *others]:
        (folder / "output" / name).parent.mkdir(exist_ok=True)
        (folder / "output" / name).write_text("x")
    assert outcome.find_output(folder) == folder / "output"


def test_one_file_in_a_subdirectory_is_a_directory(folder: Path) -> None:
    (folder / "output" / "part").mkdir()
    (folder / "output" / "part" / "a").write_text("x")
    assert outcome.find_output(folder) == folder / "output"


@pytest.mark.parametrize("make", [Path.exists, lambda out: (out / "empty").mkdir(), lambda out: (out / "model").touch()])
def test_nothing_empty_folders_and_empty_files_are_nothing(folder: Path, make: object) -> None:
    make(folder / "output")  # type: ignore[operator]  # each is a function of the output directory
    with pytest.raises(BadInput, match="wrote nothing"):
        outcome.find_output(folder)


@pytest.mark.parametrize("target", ["/etc/passwd", "model", "nowhere", "."])
def test_a_symbolic_link_is_refused_wherever_it_leads(folder: Path, target: str) -> None:
    (folder / "output" / "model").write_text("x")
    (folder / "output" / "link").symlink_to(target)
    with pytest.raises(BadInput, match="symbolic link, 'link'"):
        outcome.find_output(folder)


def test_an_output_directory_that_became_a_link_is_refused(folder: Path) -> None:
    (folder / "output").rmdir()
    (folder / "output").symlink_to("/etc")
    with pytest.raises(BadInput, match="replaced its output directory"):
        outcome.find_output(folder)


def test_special_files_are_refused(folder: Path) -> None:
    os.mkfifo(folder / "output" / "pipe")
    with pytest.raises(BadInput, match="no ordinary file"):
        outcome.find_output(folder)


def test_sockets_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "output")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("door")
        with pytest.raises(BadInput, match="no ordinary file"):
            outcome.find_output(folder)


@pytest.mark.parametrize("name", [b"two\nlines", b"back\\slash", b"not-utf8-\xff"])
def test_names_that_cannot_be_listed_are_refused(folder: Path, name: bytes) -> None:
    (folder / "output" / os.fsdecode(name)).write_text("x")
    with pytest.raises(BadInput, match="rename it"):
        outcome.find_output(folder)


def test_metrics_are_finite_numbers(folder: Path) -> None:
    (folder / "metrics.json").write_text('{"quality": 0.86, "rows": 3000}')
    assert outcome.read_metrics(folder) == {"quality": 0.86, "rows": 3000.0}


def test_missing_metrics_are_no_error(folder: Path) -> None:
    assert outcome.read_metrics(folder) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"quality": NaN}', "NaN"),
        ('{"quality": -Infinity}', "Infinity"),
        ('{"quality": 1e999}', "not finite|too large"),
        ('{"quality": ' + "9" * 400 + "}", "not finite"),
        ('{"quality": "0.9"}', "as str"),
        ('{"quality": true}', "as bool"),
        ('{"quality": null}', "as NoneType"),
        ('{"quality": {"auc": 0.9}}', "as dict"),
        ('{"quality": 0.9, "quality": 0.1}', "twice"),
        ("[0.9]", "not a JSON object"),
        ('{"quality": 0.9', "not readable"),
        ("", "not readable"),
        ("[" * 100_000, "larger than|not readable"),
        ("[" * 200 + "]" * 200, "nested deeper"),
        ('{"": 1}', "empty"),
        ('{"' + "x" * 200 + '": 1}', "longer than"),
        ('{"a\\u0007": 1}', "printable"),
        ('{"quality": 0.9' + " " * 70_000 + "}", "larger than"),
    ],
)
def test_metrics_that_are_no_flat_object_of_finite_numbers_are_refused(folder: Path, text: str, reason: str) -> None:
    (folder / "metrics.json").write_text(text)
    with pytest.raises(BadInput, match=reason):
        outcome.read_metrics(folder)


def test_metrics_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "metrics.json").write_bytes(b'{"quality": \xff}')
    with pytest.raises(BadInput, match="not readable"):
        outcome.read_metrics(folder)


def test_metrics_that_are_a_link_or_a_directory_are_refused(folder: Path) -> None:
    (folder / "metrics.json").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="no ordinary file"):
        outcome.read_metrics(folder)


def test_output_temporary_files_home_and_metrics_may_change(folder: Path) -> None:
    before = outcome.snapshot(folder)
    for name in ("output/a", "tmp/a", "home/.cache", "metrics.json"):
        (folder / name).write_text("x")
    outcome.check_nothing_else_changed(folder, before)


@pytest.mark.parametrize("path", ["evil", "code/new.py", "code/train.py", "datasets/more", "code/output"])
def test_anything_written_elsewhere_in_the_run_directory_is_named(folder: Path, path: str) -> None:
    before = outcome.snapshot(folder)
    (folder / path).write_text("changed")
    with pytest.raises(BadInput, match=f"touched '{path}'"):
        outcome.check_nothing_else_changed(folder, before)


def test_removed_code_is_named(folder: Path) -> None:
    before = outcome.snapshot(folder)
    (folder / "code" / "train.py").unlink()
    with pytest.raises(BadInput, match=r"touched 'code/train\.py'"):
        outcome.check_nothing_else_changed(folder, before)


def test_a_dataset_changed_through_its_link_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cached").write_text("data")
    (folder / "datasets" / "rainfall").symlink_to(tmp_path / "cached")
    before = outcome.snapshot(folder)
    (tmp_path / "cached").write_text("other")
    with pytest.raises(BadInput, match="touched 'datasets/rainfall'"):
        outcome.check_nothing_else_changed(folder, before)
