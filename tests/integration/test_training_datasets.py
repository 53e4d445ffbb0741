"""A dataset is taken only when its bytes are the ones that were named, and is fetched once."""

import hashlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from aiinfra_core.domain.training import DatasetRef
from aiinfra_core.errors import BadInput, DigestMismatch, NotFound, Unavailable
from aiinfra_core.training import dataset_sources, datasets
from tests.simulators.dataset_server import CONTENT, DatasetServer, dataset_server

__all__ = ["dataset_server"]

DIGEST = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()


def dataset(uri: str, sha256: str = DIGEST) -> DatasetRef:
    return DatasetRef(name="rows", uri=uri, sha256=sha256)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_bytes(CONTENT)
    return file


def assert_only_the_dataset_is_kept(cache: Path) -> None:
    assert [path.name for path in cache.iterdir()] == [DIGEST]
    assert (cache / DIGEST).read_bytes() == CONTENT
    assert (cache / DIGEST).stat().st_mode & 0o777 == 0o444


def test_a_path_and_a_file_url_name_the_same_bytes(cache: Path, source: Path) -> None:
    assert datasets.fetch(dataset(str(source)), cache) == cache / DIGEST
    assert datasets.fetch(dataset(source.as_uri()), cache) == cache / DIGEST
    assert_only_the_dataset_is_kept(cache)


def test_a_file_url_may_hold_escaped_letters(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "with space%.csv"
    file.write_bytes(CONTENT)
    datasets.fetch(dataset(file.as_uri()), cache)
    assert_only_the_dataset_is_kept(cache)


@pytest.mark.parametrize("uri", ["rows.csv", "./rows.csv", "data/../rows.csv"])
def test_a_relative_uri_is_a_file_of_the_repository(cache: Path, source: Path, uri: str) -> None:
    datasets.fetch(dataset(uri), cache, code=source.parent)
    assert_only_the_dataset_is_kept(cache)


def test_a_relative_uri_may_not_lead_out_of_the_repository(cache: Path, source: Path) -> None:
    (source.parent / "code").mkdir()
    (source.parent / "code" / "link").symlink_to(source)
    for uri in ("../rows.csv", "link"):
        with pytest.raises(BadInput, match="leads out"):
            datasets.fetch(dataset(uri), cache, code=source.parent / "code")


def test_a_relative_uri_needs_a_repository(cache: Path) -> None:
    with pytest.raises(BadInput, match="no code is checked out"):
        datasets.fetch(dataset("rows.csv"), cache)


def test_other_bytes_are_refused_with_both_digests_and_nothing_is_kept(cache: Path, source: Path) -> None:
    with pytest.raises(DigestMismatch, match=f"Dataset rows.*{OTHER}.*{DIGEST}"):
        datasets.fetch(dataset(str(source), OTHER), cache)
    assert list(cache.iterdir()) == []


def test_a_missing_file_is_not_found(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="rows"):
        datasets.fetch(dataset(str(tmp_path / "nowhere")), cache)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("path", ["/dev/zero", "/proc"])
def test_devices_and_directories_are_no_dataset(cache: Path, path: str) -> None:
    with pytest.raises(BadInput, match="no ordinary file"):
        datasets.fetch(dataset(path), cache)


@pytest.mark.parametrize("uri", ["ftp://host/rows", "file://host/rows", "data://x", "ssh://host/rows", "gopher://x"])
def test_other_kinds_of_uri_are_refused(cache: Path, uri: str) -> None:
    with pytest.raises(BadInput, match="unknown kind"):
        datasets.fetch(dataset(uri), cache)


@pytest.mark.parametrize("uri", ["https://[::1/rows", "http:///rows", "https://host:port/rows"])
def test_a_uri_that_cannot_be_read_is_refused(cache: Path, uri: str) -> None:
    with pytest.raises(BadInput, match="check it"):
        datasets.fetch(dataset(uri), cache)
    assert list(cache.iterdir()) == []


def test_a_cached_dataset_needs_no_source(cache: Path, source: Path) -> None:
    datasets.fetch(dataset(str(source)), cache)
    source.unlink()
    datasets.fetch(dataset(str(source)), cache)
    assert_only_the_dataset_is_kept(cache)


def test_a_cached_dataset_that_was_changed_is_fetched_again(cache: Path, source: Path) -> None:
    kept = datasets.fetch(dataset(str(source)), cache)
    kept.chmod(0o644)
    kept.write_bytes(b"tampered")
    datasets.fetch(dataset(str(source)), cache)
    assert_only_the_dataset_is_kept(cache)


def test_what_a_killed_fetch_left_is_written_over(cache: Path, source: Path) -> None:
    cache.mkdir()
    (cache / f"{DIGEST}.partial").write_bytes(b"half of it")
    datasets.fetch(dataset(str(source)), cache)
    assert_only_the_dataset_is_kept(cache)


def test_many_fetch_at_once_and_the_source_is_asked_once(cache: Path, dataset_server: DatasetServer) -> None:
    with ThreadPoolExecutor(4) as pool:
        fetched = [pool.submit(datasets.fetch, dataset(dataset_server.url("late")), cache) for _ in range(4)]
    assert {future.result() for future in fetched} == {cache / DIGEST}
    assert dataset_server.asked == ["late"]
    assert_only_the_dataset_is_kept(cache)


@pytest.mark.parametrize("name", ["whole", "elsewhere", "whole?signature=abc"])
def test_http_gives_the_bytes(cache: Path, dataset_server: DatasetServer, name: str) -> None:
    datasets.fetch(dataset(dataset_server.url(name)), cache)
    assert_only_the_dataset_is_kept(cache)


@pytest.mark.parametrize(
    ("name", "error"), [("missing", NotFound), ("forbidden", BadInput), ("broken", Unavailable), ("truncated", Unavailable)]
)
def test_http_that_does_not_give_the_bytes_keeps_nothing(
    cache: Path, dataset_server: DatasetServer, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="rows") as refusal:
        datasets.fetch(dataset(dataset_server.url(name)), cache)
    assert type(refusal.value) is error
    assert getattr(refusal.value, "part", "dataset") == "dataset"
    assert list(cache.iterdir()) == []


def test_a_server_that_falls_silent_is_unavailable(cache: Path, dataset_server: DatasetServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_sources, "SILENCE_SECONDS", 0.3)
    with pytest.raises(Unavailable, match="ReadTimeout"):
        datasets.fetch(dataset(dataset_server.url("silent")), cache)
    assert list(cache.iterdir()) == []


def test_a_server_that_drips_is_unavailable_when_the_time_is_up(cache: Path, dataset_server: DatasetServer) -> None:
    with pytest.raises(Unavailable, match=r"did not arrive within 0\.5 seconds"):
        datasets.fetch(dataset(dataset_server.url("dripping")), cache, timeout_seconds=0.5)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_is_not_there_is_unavailable(cache: Path, scheme: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="ConnectError"):
            datasets.fetch(dataset(f"{scheme}://127.0.0.1:{closed.getsockname()[1]}/rows"), cache)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    client = boto3.client("s3", endpoint_url=s3_server)
    client.create_bucket(Bucket="data")
    client.put_object(Bucket="data", Key="rows.csv", Body=CONTENT)
    client.close()
    return s3_server


def test_s3_gives_the_bytes(cache: Path, s3: str) -> None:
    datasets.fetch(dataset("s3://data/rows.csv"), cache, s3_endpoint_url=s3)
    assert_only_the_dataset_is_kept(cache)


@pytest.mark.parametrize("uri", ["s3://data/nowhere", "s3://no-such-bucket/rows.csv"])
def test_what_is_not_in_s3_is_not_found(cache: Path, s3: str, uri: str) -> None:
    with pytest.raises(NotFound, match="rows"):
        datasets.fetch(dataset(uri), cache, s3_endpoint_url=s3)
    assert list(cache.iterdir()) == []


def test_other_bytes_in_s3_are_refused(cache: Path, s3: str) -> None:
    with pytest.raises(DigestMismatch):
        datasets.fetch(dataset("s3://data/rows.csv", OTHER), cache, s3_endpoint_url=s3)
    assert list(cache.iterdir()) == []


@pytest.mark.slow
def test_an_s3_that_is_not_there_is_unavailable(cache: Path, s3: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="rows"):
            datasets.fetch(dataset("s3://data/rows.csv"), cache, s3_endpoint_url=f"http://127.0.0.1:{closed.getsockname()[1]}")
