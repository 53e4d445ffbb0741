"""What only a store in a local directory has to mind: links, special files, other writers, a full disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiinfra_core import artifact_store
from aiinfra_core.artifact_store import Location, local, streams
from aiinfra_core.artifact_store.local import LocalStore
from aiinfra_core.errors import BadInput, Conflict, NotFound, Unavailable
from tests.simulators.artifact_places import in_directory


@pytest.fixture
def directory(tmp_path: Path) -> Location:
    return Location((tmp_path / "store").as_uri(), None)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(2**20) * 40)
    return path


def test_symbolic_links_do_not_lead_out_of_the_directory(directory: Location, tmp_path: Path, source: Path) -> None:
    artifact_store.put(directory, source, "artifacts/1")
    shelf = tmp_path / "store" / "artifacts"
    (shelf / "link").symlink_to(source)
    (tmp_path / "store" / "out").symlink_to(tmp_path)
    for key in ("artifacts/link", "out/source", "out/new"):
        with pytest.raises(BadInput, match="symbolic link"):
            artifact_store.measure(directory, f"{directory.root}/{key}")
        with pytest.raises(BadInput, match="symbolic link"):
            artifact_store.put(directory, source, key)
    assert not (tmp_path / "new").exists()


def test_a_link_slipped_into_a_stored_directory_is_refused(directory: Location, tmp_path: Path, source: Path) -> None:
    stored = artifact_store.put(directory, in_directory(source), "artifacts/1")
    (tmp_path / "store" / "artifacts" / "1" / "link").symlink_to("a")
    with pytest.raises(BadInput, match="symbolic link"):
        artifact_store.verify(directory, stored.uri, stored.checksum)


def test_what_is_in_the_way_is_a_conflict(directory: Location, tmp_path: Path, source: Path) -> None:
    artifact_store.put(directory, source, "a")
    with pytest.raises(Conflict):
        artifact_store.put(directory, source, "a/b")
    stored = artifact_store.put(directory, source, "b/c")
    with pytest.raises(NotFound):
        artifact_store.put(directory, source, "b")
    with pytest.raises(Conflict, match="exists already"):
        artifact_store.fetch(directory, stored.uri, stored.checksum, source)


def test_a_directory_stored_meanwhile_keeps_its_sums(directory: Location, tmp_path: Path, source: Path) -> None:
    stored = artifact_store.put(directory, in_directory(source), "artifacts/1")
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "a").write_bytes(b"late")
    with pytest.raises(FileExistsError):
        LocalStore(tmp_path / "store").put_directory("artifacts/1", tmp_path / "late", ["a"])
    assert artifact_store.verify(directory, stored.uri, stored.checksum) == stored


def test_a_special_file_is_not_waited_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="regular file"), streams.of_file(tmp_path / "pipe"):
        pass


def test_stored_files_are_read_only(directory: Location, tmp_path: Path, source: Path) -> None:
    artifact_store.put(directory, source, "a")
    assert (tmp_path / "store" / "a").stat().st_mode & 0o777 == 0o444


def test_a_living_writer_is_waited_for(directory: Location, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "WAIT_FOR_WRITER_SECONDS", 0.1)
    with local.building(tmp_path / "store" / "artifacts" / "1") as partial:
        (partial / "content").write_bytes(b"half")
        with pytest.raises(Unavailable, match="Another process"):
            artifact_store.put(directory, source, "artifacts/1")
        assert (partial / "content").read_bytes() == b"half"
    artifact_store.put(directory, source, "artifacts/1")


def test_a_full_disk_is_unavailable_and_leaves_nothing(tmp_path: Path, source: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from aiinfra_core import artifact_store
from aiinfra_core.errors import Unavailable
resource.setrlimit(resource.RLIMIT_FSIZE, (2**22, 2**22))
try:
    artifact_store.put(artifact_store.Location(sys.argv[1], None), Path(sys.argv[2]), "artifacts/1")
except Unavailable as error:
    print(error.part, error)
"""
    arguments = [(tmp_path / "store").as_uri(), str(source)]
    printed = subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True).stdout
    assert printed.startswith("artifact_store ")
    assert "is full" in printed
    assert list((tmp_path / "store" / "artifacts").iterdir()) == []
