"""Killed writers, sources that move, and servers that refuse, fail or go away: an answer in seconds and nothing half-done."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from aiinfra_core import artifact_store, checksums
from aiinfra_core.artifact_store import Location, s3, streams
from aiinfra_core.artifact_store.local import LocalStore
from aiinfra_core.artifact_store.s3 import S3Store
from aiinfra_core.artifact_store.streams import Stream
from aiinfra_core.errors import BadInput, Conflict, NotFound, Unavailable
from tests.simulators.artifact_places import in_directory
from tests.simulators.s3_servers import (
    ACCESS_KEY,
    BUCKET,
    SECRET_KEY,
    always_answering,
    aws_credentials,
    dying_after,
    location_at,
    moto_endpoint,
    object_keys,
    rclone_endpoint,
    rclone_serving,
    s3_client,
    unfinished_uploads,
    wait_until,
)
from tests.simulators.scripted_server import unused_url

__all__ = ["aws_credentials", "moto_endpoint", "rclone_endpoint"]

PUT = """
import sys
from pathlib import Path
from aiinfra_core import artifact_store
artifact_store.put(artifact_store.Location(sys.argv[1], sys.argv[2] or None), Path(sys.argv[3]), "artifacts/1")
"""
HUGE_BYTES = 20 * 2**30


@pytest.fixture
def directory(tmp_path: Path) -> Location:
    return Location((tmp_path / "store").as_uri(), None)


@pytest.fixture
def moto(aws_credentials: None, moto_endpoint: str, tmp_path: Path) -> Location:
    return location_at(moto_endpoint, tmp_path.name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(2**20) * 40)
    return path


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """A file that takes long to read and no room on the disk."""
    path = tmp_path / "huge"
    path.touch()
    os.truncate(path, HUGE_BYTES)
    return path


@contextmanager
def writer(location: Location, source: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that stores `source`; it is dead afterwards."""
    arguments = [location.root, location.endpoint_url or "", str(source)]
    with subprocess.Popen([sys.executable, "-c", PUT, *arguments], stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("as_directory", [False, True])
def test_a_killed_writer_leaves_nothing_and_the_next_one_cleans_up(
    directory: Location, tmp_path: Path, huge: Path, source: Path, as_directory: bool
) -> None:
    shelf, offered = tmp_path / "store" / "artifacts", in_directory(huge) if as_directory else huge
    content = shelf / ".1.partial" / "content" / ("b" if as_directory else "")
    with writer(directory, offered):
        wait_until(lambda: content.is_file() and content.stat().st_size > 4 * 2**20)
    assert [path.name for path in shelf.iterdir()] == [".1.partial"]
    with pytest.raises(NotFound):
        artifact_store.measure(directory, f"{directory.root}/artifacts/1")
    stored = artifact_store.put(directory, in_directory(source) if as_directory else source, "artifacts/1")
    assert sorted(path.name for path in shelf.iterdir()) == (["1", "1.SHA256SUMS"] if as_directory else ["1"])
    assert artifact_store.measure(directory, stored.uri) == stored


@pytest.mark.parametrize("as_directory", [False, True])
def test_a_killed_upload_leaves_no_object_and_the_next_one_ends_it(
    moto: Location, tmp_path: Path, huge: Path, source: Path, monkeypatch: pytest.MonkeyPatch, as_directory: bool
) -> None:
    with writer(moto, in_directory(huge) if as_directory else huge):
        wait_until(lambda: parts_received(moto, tmp_path.name))
    assert unfinished_uploads(str(moto.endpoint_url), tmp_path.name)
    with pytest.raises(NotFound):
        artifact_store.measure(moto, f"{moto.root}/artifacts/1")
    monkeypatch.setattr(s3, "IDLE_UPLOAD_SECONDS", -5.0)
    stored = artifact_store.put(moto, in_directory(source) if as_directory else source, "artifacts/1")
    assert unfinished_uploads(str(moto.endpoint_url), tmp_path.name) == []
    assert artifact_store.measure(moto, stored.uri) == stored


def test_an_upload_in_progress_is_left_alone(moto: Location, tmp_path: Path, source: Path, huge: Path) -> None:
    with writer(moto, huge):
        wait_until(lambda: parts_received(moto, tmp_path.name))
        artifact_store.put(moto, source, "artifacts/1")
        assert unfinished_uploads(str(moto.endpoint_url), tmp_path.name) == [f"{tmp_path.name}/artifacts/1"]


def parts_received(location: Location, prefix: str) -> bool:
    client = s3_client(str(location.endpoint_url))
    uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
    return any(client.list_parts(Bucket=BUCKET, Key=each["Key"], UploadId=each["UploadId"]).get("Parts") for each in uploads)


def test_an_interrupted_directory_upload_goes_on_where_it_was(moto: Location, tmp_path: Path, source: Path) -> None:
    folder = in_directory(source)
    stored = artifact_store.put(moto, folder, "artifacts/1")
    client = s3_client(str(moto.endpoint_url))
    for name in ("artifacts/1/b", "artifacts/1.SHA256SUMS"):
        client.delete_object(Bucket=BUCKET, Key=f"{tmp_path.name}/{name}")
    assert artifact_store.put(moto, folder, "artifacts/1") == stored
    client.delete_object(Bucket=BUCKET, Key=f"{tmp_path.name}/artifacts/1.SHA256SUMS")
    (folder / "a").write_bytes(b"other")
    with pytest.raises(Conflict, match=checksums.sha256_hex(b"first")):
        artifact_store.put(moto, folder, "artifacts/1")
    (folder / "a").unlink()
    with pytest.raises(Conflict, match="'a'"):
        artifact_store.put(moto, folder, "artifacts/1")


def interrupted(stream: Stream, happening: Callable[[], object]) -> Stream:
    """The same stream, with something happening before its second block is read."""
    calls = 0

    def fill(block: memoryview) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            happening()
        return stream.fill(block)

    return Stream(fill, stream.size)


@pytest.mark.parametrize("size", [3 * 2**20, 40 * 2**20])
@pytest.mark.parametrize("place", ["directory", "moto"])
def test_a_source_that_changes_while_it_is_read_is_refused(place: str, size: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    location: Location = request.getfixturevalue(place)
    store = S3Store(BUCKET, f"{tmp_path.name}/", location.endpoint_url) if place == "moto" else LocalStore(tmp_path / "store")
    moving = tmp_path / "moving"
    for change in (lambda: os.truncate(moving, size + 1), lambda: os.truncate(moving, size // 2), lambda: os.utime(moving, (1, 1))):
        moving.write_bytes(b"x" * size)
        with streams.of_source(moving) as stream, pytest.raises(BadInput, match="changed while it was read"):
            store.put_file("artifacts/1", interrupted(stream, change))
    with pytest.raises(NotFound):
        artifact_store.measure(location, f"{location.root}/artifacts/1")
    if location.endpoint_url is None:
        assert list((tmp_path / "store" / "artifacts").iterdir()) == []
    else:
        assert unfinished_uploads(location.endpoint_url, tmp_path.name) == object_keys(location.endpoint_url, tmp_path.name) == []


@pytest.mark.parametrize("server", ["moto", "rclone"])
def test_of_two_uploads_at_once_the_first_to_finish_stays(
    server: str, request: pytest.FixtureRequest, aws_credentials: None, tmp_path: Path, source: Path
) -> None:
    endpoint: str = request.getfixturevalue(f"{server}_endpoint")
    store, location = S3Store(BUCKET, f"{tmp_path.name}/", endpoint), location_at(endpoint, tmp_path.name)
    rival = tmp_path / "rival"
    rival.write_bytes(b"rival" * 2**21)
    with streams.of_source(source) as stream, pytest.raises(FileExistsError):
        store.put_file("a", interrupted(stream, lambda: artifact_store.put(location, rival, "a")))
    assert artifact_store.measure(location, f"{location.root}/a").checksum == checksums.sha256_hex(rival.read_bytes())
    assert unfinished_uploads(endpoint, tmp_path.name) == []


@pytest.mark.parametrize("trouble", ["closed port", "403", "503", "no bucket", "no credentials"])
def test_a_server_in_trouble_is_unavailable_within_seconds(
    trouble: str, aws_credentials: None, tmp_path: Path, source: Path, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        root, endpoint = f"s3://{BUCKET}", unused_url()
        if trouble == "403":
            (tmp_path / "served").mkdir()
            endpoint = stack.enter_context(rclone_serving(tmp_path / "served", "someone-else,entirely"))
        elif trouble.isdigit():
            endpoint = stack.enter_context(always_answering(int(trouble)))
        elif trouble == "no bucket":
            root, endpoint = "s3://there-is-none", moto_endpoint
        elif trouble == "no credentials":
            monkeypatch.delenv("AWS_ACCESS_KEY_ID")
            monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        location = Location(root, endpoint)
        for ask in (
            lambda: artifact_store.put(location, source, "a"),
            lambda: artifact_store.fetch(location, f"{root}/a", "0" * 64, tmp_path / "copy"),
        ):
            started = time.monotonic()
            with pytest.raises(Unavailable) as raised:
                ask()
            assert time.monotonic() - started < 15
            assert raised.value.part == "artifact_store"
            assert root.removeprefix("s3://") in str(raised.value)
            assert ACCESS_KEY not in str(raised.value)
            assert SECRET_KEY not in str(raised.value)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("server", ["moto", "rclone"])
def test_a_server_that_dies_during_an_upload_leaves_no_object(
    server: str, request: pytest.FixtureRequest, aws_credentials: None, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint: str = request.getfixturevalue(f"{server}_endpoint")
    through = location_at(endpoint, tmp_path.name)
    started = time.monotonic()
    with dying_after(endpoint, 20 * 2**20) as dying, pytest.raises(Unavailable, match=BUCKET):
        artifact_store.put(location_at(dying, tmp_path.name), source, "artifacts/1")
    assert time.monotonic() - started < 20
    assert object_keys(endpoint, tmp_path.name) == []
    monkeypatch.setattr(s3, "IDLE_UPLOAD_SECONDS", -5.0)
    stored = artifact_store.put(through, source, "artifacts/1")
    assert artifact_store.measure(through, stored.uri) == stored
    assert unfinished_uploads(endpoint, tmp_path.name) == []
