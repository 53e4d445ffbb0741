"""Whatever stands in a directory, reading it as an export tells what may not be there, opens nothing outside and never crashes."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiinfra_core.errors import AiInfraError
from aiinfra_core.evidence import bundle

AMOUNTS = [100, pytest.param(10_000, marks=[pytest.mark.full, pytest.mark.timeout(3600)])]
SECRET = b"what stands outside the export"
PARTS = [
    "model",
    "attestations",
    "events",
    "trust",
    "consistency",
    "..",
    ".hidden",
    "a\nb",
    "a\\b",
    "-",
    "\udcff",
    "é",
    "x" * 200,
    "1",
    "0" * 20,
]
NAMES = [
    bundle.STATEMENT,
    bundle.FILES,
    bundle.CHECKPOINT,
    "model",
    "trust/1.root.json",
    "trust/0.root.json",
    bundle.attestation_name("ab" * 32),
    bundle.attestation_name("AB" * 32),
    bundle.event_name(7),
    bundle.consistency_name(7),
    "consistency/07",
    "model/weights.bin",
    "model/attestations/x",
    "model/FILES.SHA256",
]
paths = st.sampled_from(NAMES) | st.lists(st.sampled_from([it for it in PARTS if it != ".."]), min_size=1, max_size=4).map("/".join)
contents = st.binary(max_size=20)
Make = Callable[[Path, bytes], object]


def _new(path: Path, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123 - pathlib gives no mode
        file.write(data)


KINDS: dict[str, Make] = {
    "file": lambda path, data: _new(path, data, 0o644),
    "folder": lambda path, _: path.mkdir(),
    "link to a file": lambda path, _: path.symlink_to("../../outside"),
    "link to a folder": lambda path, _: path.symlink_to("../.."),
    "link to nothing": lambda path, _: path.symlink_to("nothing"),
    "link to itself": lambda path, _: path.symlink_to(path.name),
    "pipe": lambda path, _: os.mkfifo(path),
    "closed file": lambda path, data: _new(path, data, 0),
}


def made(top: Path, things: list[tuple[str, str, bytes]]) -> Path:
    """Make a directory of these things; one that has no room for its name is left out."""
    folder = top / "export"
    folder.mkdir()
    (top / "outside").write_bytes(SECRET)
    for path, kind, data in things:
        try:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            KINDS[kind](folder / path, data)
        except OSError:
            continue
    return folder


@pytest.mark.parametrize("examples", AMOUNTS)
def test_a_directory_of_anything_is_read_or_refused(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(paths, st.sampled_from(sorted(KINDS)), contents), max_size=8), st.booleans())
    def reads(things: list[tuple[str, str, bytes]], with_statement: bool) -> None:
        top = Path(tempfile.mkdtemp())
        try:
            folder = made(top, [(bundle.STATEMENT, "file", b"{}")] * with_statement + things)
            found = bundle.read(folder)
        except AiInfraError:
            return
        finally:
            shutil.rmtree(top)
        assert all(type(data) is bytes for data in found.files.values())
        assert set(found.files).isdisjoint(found.refused)
        assert SECRET not in found.files.values()
        "\n".join([*found.files, *found.model, *found.refused, *found.refused.values()]).encode()

    reads()


def test_each_kind_of_thing_that_is_no_file_is_named(tmp_path: Path) -> None:
    things = [(bundle.STATEMENT, "file", b"{}"), *((f"model/{kind}", kind, b"") for kind in KINDS if kind not in ("file", "closed file"))]
    found = bundle.read(made(tmp_path, things))
    assert {it.rstrip("/") for it in found.refused} == {f"model/{kind}" for kind in KINDS if kind not in ("file", "closed file")}
    assert found.model == ()
