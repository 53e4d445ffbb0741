"""What every store promises: a local directory, a server that creates only, and one that would overwrite silently."""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiinfra_core import artifact_store, checksums
from aiinfra_core.artifact_store import Location
from aiinfra_core.domain.artifact import DigestKind, StoredArtifact
from aiinfra_core.errors import BadInput, Conflict, DigestMismatch, Misconfigured, NotFound
from aiinfra_core.settings import Settings
from tests.simulators.s3_servers import BUCKET, aws_credentials, location_at, moto_endpoint, object_keys, rclone_endpoint, s3_client

__all__ = ["aws_credentials", "moto_endpoint", "rclone_endpoint"]

BIG = os.urandom(2**20) * 9 + b"tail"  # more than one part of an upload


@dataclass(frozen=True)
class Place:
    """A store under test, and the ways to meddle with it behind the product's back."""

    location: Location
    keys: Callable[[], list[str]]
    overwrite: Callable[[str, bytes], None]
    remove: Callable[[str], None]


@pytest.fixture
def directory(tmp_path: Path) -> Place:
    root = tmp_path / "store"

    def overwrite(key: str, data: bytes) -> None:
        (root / key).unlink(missing_ok=True)
        (root / key).write_bytes(data)

    def keys() -> list[str]:
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    return Place(Location(root.as_uri(), None), keys, overwrite, lambda key: (root / key).unlink())


def bucket(endpoint: str, prefix: str) -> Place:
    client = s3_client(endpoint)
    return Place(
        location_at(endpoint, prefix),
        lambda: [key.removeprefix(prefix + "/") for key in object_keys(endpoint, prefix + "/")],
        lambda key, data: client.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=data),
        lambda key: client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{key}"),
    )


@pytest.fixture(params=["directory", "moto", "rclone"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        found: Place = request.getfixturevalue("directory")
        return found
    request.getfixturevalue("aws_credentials")
    return bucket(request.getfixturevalue(f"{request.param}_endpoint"), tmp_path.name)


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


def test_a_checksum_that_is_not_hex_is_refused(place: Place) -> None:
    for checksum in ("", "0" * 63, "G" * 64, "A" * 64, "0" * 64 + "\n"):
        with pytest.raises(BadInput, match="hex"):
            artifact_store.verify(place.location, f"{place.location.root}/a", checksum)


def test_reading_outside_the_root_is_refused(place: Place) -> None:
    root = place.location.root
    outside = [
        "artifacts/1",
        "file:///etc/passwd",
        "/etc/passwd",
        "s3://other/a",
        f"s3://{BUCKET}/other/a",
        "https://x/a",
        root,
        root + "/",
        root + "x/a",
    ]
    inside = [
        "../a",
        "a/../../b",
        "a/./b",
        "a//b",
        "%2e%2e/a",
        ".a.partial/content",
        "a\nb",
        "a?versionId=1",
        "a#b",
        "a\0",
        "ü",
        "a.SHA256SUMS",
    ]
    for uri in outside + [f"{root}/{key}" for key in inside]:
        with pytest.raises(BadInput) as raised:
            artifact_store.measure(place.location, uri)
        assert type(raised.value) is BadInput


def test_a_source_that_cannot_be_an_artifact_is_refused(place: Place, tmp_path: Path) -> None:
    def linked(folder: Path) -> None:
        (folder / "link").symlink_to("/etc/passwd")

    def piped(folder: Path) -> None:
        os.mkfifo(folder / "pipe")

    makers: dict[str, Callable[[Path], object]] = {
        "empty": Path.exists,
        "nested-empty": lambda folder: (folder / "inner").mkdir(),
        "link": linked,
        "pipe": piped,
        "newline": lambda folder: (folder / "a\nb").write_bytes(b""),
        "backslash": lambda folder: (folder / "a\\b").write_bytes(b""),
        "not-utf8": lambda folder: Path(os.fsdecode(bytes(folder) + b"/\xff")).write_bytes(b""),
    }
    for name, make in makers.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name)
    sources = [*makers, "absent", "link/link", "pipe/pipe"]
    for name in sources:
        with pytest.raises(BadInput):
            artifact_store.put(place.location, tmp_path / name, "a")
    assert place.keys() == []


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


@pytest.mark.parametrize(
    ("root", "endpoint"),
    [
        (None, None),
        ("", None),
        ("/tmp/x", None),  # noqa: S108 - only its form matters
        ("file://host/x", None),
        ("http://x", None),
        ("s3://", None),
        ("s3://UPPER", None),
        ("s3://bucket/../x", None),
        ("s3://bucket", "localhost:9000"),
        ("s3://bucket", "http://user:secret@host"),
    ],
)
def test_a_root_that_is_no_place_is_misconfigured(root: str | None, endpoint: str | None) -> None:
    with pytest.raises(Misconfigured) as raised:
        artifact_store.location(Settings(artifact_root=root, s3_endpoint_url=endpoint))
    assert "secret" not in str(raised.value)


def test_a_slash_at_the_end_of_the_root_does_not_matter() -> None:
    assert artifact_store.location(Settings(artifact_root="s3://bucket/prefix/")) == Location("s3://bucket/prefix", None)
