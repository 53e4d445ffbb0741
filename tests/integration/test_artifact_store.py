"""What every store promises: a local directory, a server that creates only, and one that would overwrite silently."""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aiinfra_core import artifact_store, checksums
from aiinfra_core.domain.artifact import DigestKind, StoredArtifact
from aiinfra_core.errors import BadInput, Conflict, DigestMismatch, NotFound
from tests.simulators.artifact_places import Place, directory_place, place
from tests.simulators.s3_servers import BUCKET, aws_credentials, moto_endpoint, rclone_endpoint, s3_client

__all__ = ["aws_credentials", "directory_place", "moto_endpoint", "place", "rclone_endpoint"]

BIG = os.urandom(2**20) * 9 + b"tail"  # more than one part of an upload


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(BIG)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "sub" / ".deep").mkdir(parents=True)
    (folder / "sub" / ".deep" / "weights").write_bytes(BIG)
    (folder / "a b?versionId=3+ü%20").write_bytes(b"odd but allowed")
    (folder / "SHA256SUMS").write_bytes(b"a file like any other")
    (folder / "empty").write_bytes(b"")
    return folder


def stored_folder(place: Place, folder: Path) -> StoredArtifact:
    return artifact_store.put(place.location, folder, "artifacts/folder")


def test_a_file_comes_back_as_it_was_stored(place: Place, model: Path, tmp_path: Path) -> None:
    stored = artifact_store.put(place.location, model, "artifacts/1.model")
    assert stored == StoredArtifact(
        uri=f"{place.location.root}/artifacts/1.model", digest_kind=DigestKind.FILE, checksum=checksums.sha256_hex(BIG), size_bytes=len(BIG)
    )
    assert artifact_store.measure(place.location, stored.uri) == stored
    artifact_store.fetch(place.location, stored.uri, stored.checksum, tmp_path / "there" / "copy")
    assert (tmp_path / "there" / "copy").read_bytes() == BIG
    assert artifact_store.read_bytes(place.location, stored.uri, stored.checksum) == BIG
    assert place.keys() == ["artifacts/1.model"]


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 2**20, b"x" * 8 * 2**20])
def test_files_of_edge_sizes_come_back(place: Place, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "source").write_bytes(data)
    stored = artifact_store.put(place.location, tmp_path / "source", "a")
    assert artifact_store.read_bytes(place.location, stored.uri, checksums.sha256_hex(data)) == data


def test_a_directory_comes_back_as_it_was_stored(place: Place, folder: Path, tmp_path: Path) -> None:
    stored = stored_folder(place, folder)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert stored.digest_kind is DigestKind.DIRECTORY
    assert stored.checksum == checksums.directory_digest({name: checksums.sha256_hex(data) for name, data in files.items()})
    assert stored.size_bytes == sum(map(len, files.values()))
    assert artifact_store.verify(place.location, stored.uri, stored.checksum) == stored
    artifact_store.fetch(place.location, stored.uri, stored.checksum, tmp_path / "copy")
    assert {
        path.relative_to(tmp_path / "copy").as_posix(): path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()
    } == files


def test_coreutils_check_a_fetched_directory_against_its_sums(place: Place, folder: Path, tmp_path: Path) -> None:
    stored = stored_folder(place, folder)
    artifact_store.fetch(place.location, stored.uri, stored.checksum, tmp_path / "copy")
    listed = _sums_of(place, stored.uri)
    assert checksums.sha256_hex(listed) == stored.checksum
    (tmp_path / "copy.SHA256SUMS").write_bytes(listed)
    subprocess.run(["sha256sum", "--strict", "--quiet", "-c", "../copy.SHA256SUMS"], cwd=tmp_path / "copy", check=True)


def _sums_of(place: Place, uri: str) -> bytes:
    if place.location.endpoint_url is None:
        return Path(uri.removeprefix("file://") + ".SHA256SUMS").read_bytes()
    key = uri.removeprefix(f"s3://{BUCKET}/") + ".SHA256SUMS"
    data: bytes = s3_client(place.location.endpoint_url).get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return data


def test_storing_the_same_again_changes_nothing(place: Place, model: Path, folder: Path) -> None:
    first = artifact_store.put(place.location, model, "artifacts/1.model"), stored_folder(place, folder)
    keys = place.keys()
    assert (artifact_store.put(place.location, model, "artifacts/1.model"), stored_folder(place, folder)) == first
    assert place.keys() == keys


def test_an_artifact_is_never_overwritten(place: Place, model: Path, tmp_path: Path) -> None:
    stored = artifact_store.put(place.location, model, "artifacts/1.model")
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(Conflict, match=f"{stored.checksum}, not {checksums.sha256_hex(b'other')}"):
        artifact_store.put(place.location, other, "artifacts/1.model")
    assert artifact_store.verify(place.location, stored.uri, stored.checksum) == stored


def test_a_directory_is_never_overwritten(place: Place, folder: Path, model: Path) -> None:
    stored, keys = stored_folder(place, folder), place.keys()
    (folder / "empty").write_bytes(b"not any more")
    (folder / "more").write_bytes(b"")
    with pytest.raises(Conflict, match=stored.checksum):
        stored_folder(place, folder)
    with pytest.raises(Conflict, match=stored.checksum):
        artifact_store.put(place.location, model, "artifacts/folder")
    with pytest.raises(Conflict, match="below"):
        artifact_store.put(place.location, model, "artifacts/folder/sub/new")
    assert artifact_store.verify(place.location, stored.uri, stored.checksum) == stored
    assert place.keys() == keys


def test_small_objects_are_kept_by_content(place: Place) -> None:
    uri = artifact_store.put_bytes(place.location, b"{}", "training", ".json")
    assert uri == f"{place.location.root}/training/{checksums.sha256_hex(b'{}')}.json"
    assert artifact_store.put_bytes(place.location, b"{}", "training", ".json") == uri
    assert artifact_store.read_bytes(place.location, uri, checksums.sha256_hex(b"{}")) == b"{}"
    with pytest.raises(BadInput, match="more than"):
        artifact_store.read_bytes(place.location, uri, checksums.sha256_hex(b"{}"), limit=1)
    place.overwrite(f"training/{checksums.sha256_hex(b'{}')}.json", b"[]")
    with pytest.raises(DigestMismatch):
        artifact_store.put_bytes(place.location, b"{}", "training", ".json")


def test_a_changed_byte_is_found_on_every_read(place: Place, model: Path, tmp_path: Path) -> None:
    stored = artifact_store.put(place.location, model, "artifacts/1.model")
    place.overwrite("artifacts/1.model", BIG[:-1] + b"?")
    with pytest.raises(DigestMismatch, match=f"{checksums.sha256_hex(BIG[:-1] + b'?')}, not {stored.checksum}"):
        artifact_store.verify(place.location, stored.uri, stored.checksum)
    with pytest.raises(DigestMismatch):
        artifact_store.read_bytes(place.location, stored.uri, stored.checksum)
    with pytest.raises(DigestMismatch):
        artifact_store.fetch(place.location, stored.uri, stored.checksum, tmp_path / "copy")
    assert not [path for path in tmp_path.iterdir() if "copy" in path.name]


def test_any_change_to_a_stored_directory_is_found(place: Place, folder: Path, tmp_path: Path) -> None:
    stored = stored_folder(place, folder)
    changes: list[tuple[Callable[[], None], str]] = [
        (lambda: place.overwrite("artifacts/folder/sub/extra", b""), "sub/extra"),
        (lambda: place.remove("artifacts/folder/sub/extra"), ""),
        (lambda: place.overwrite("artifacts/folder/empty", b"1"), "empty"),
        (lambda: place.remove("artifacts/folder/empty"), "empty"),
        (lambda: place.overwrite("artifacts/folder/empty", b""), ""),
        (lambda: place.overwrite("artifacts/folder.SHA256SUMS", b""), "SHA256SUMS"),
    ]
    for change, named in changes:
        change()
        if not named:
            assert artifact_store.verify(place.location, stored.uri, stored.checksum) == stored
            continue
        with pytest.raises(DigestMismatch, match=stored.checksum if named != "SHA256SUMS" else "sums say"):
            artifact_store.verify(place.location, stored.uri, stored.checksum)
        with pytest.raises(DigestMismatch, match=named):
            artifact_store.measure(place.location, stored.uri)
        if named != "SHA256SUMS":
            with pytest.raises(DigestMismatch):
                artifact_store.fetch(place.location, stored.uri, stored.checksum, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_directory_without_its_sums_is_not_there(place: Place, folder: Path) -> None:
    stored = stored_folder(place, folder)
    place.remove("artifacts/folder.SHA256SUMS")
    for read in (artifact_store.verify, artifact_store.read_bytes):
        with pytest.raises(NotFound):
            read(place.location, stored.uri, stored.checksum)


def test_what_is_not_there_is_not_found(place: Place, tmp_path: Path) -> None:
    uri = f"{place.location.root}/artifacts/none.model"
    with pytest.raises(NotFound, match=uri):
        artifact_store.measure(place.location, uri)
    with pytest.raises(NotFound):
        artifact_store.fetch(place.location, uri, "0" * 64, tmp_path / "copy")
    with pytest.raises(NotFound):
        artifact_store.read_bytes(place.location, uri, "0" * 64)


@pytest.mark.parametrize("place", ["directory", "moto"], indirect=True)  # without If-None-Match no server can promise it
def test_of_concurrent_writers_of_one_key_one_wins(place: Place, tmp_path: Path) -> None:
    contents = [bytes([number]) * 2**20 for number in range(6)]
    for number, data in enumerate(contents):
        (tmp_path / f"source{number}").write_bytes(data)

    def store(number: int) -> StoredArtifact | Conflict:
        try:
            return artifact_store.put(place.location, tmp_path / f"source{number}", "contested")
        except Conflict as conflict:
            return conflict

    with ThreadPoolExecutor(6) as writers:
        outcomes = list(writers.map(store, range(6)))
    won = [outcome for outcome in outcomes if isinstance(outcome, StoredArtifact)]
    assert len(won) == 1
    assert artifact_store.measure(place.location, won[0].uri) == won[0]
    assert place.keys() == ["contested"]
