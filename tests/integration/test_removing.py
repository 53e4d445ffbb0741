"""Removing an artifact's bytes, from a directory, from moto and from rclone: all of them and nothing else, and again without harm."""

from pathlib import Path

import pytest

from aiinfra_core import artifact_store
from aiinfra_core.artifact_store import Location, removing
from aiinfra_core.artifact_store.removing import Removed
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import ArtifactMissing, BadInput, Unavailable
from tests.simulators.artifact_places import Place, directory_place, place
from tests.simulators.s3_servers import always_answering, aws_credentials, moto_endpoint, rclone_endpoint, s3_client

__all__ = ["aws_credentials", "directory_place", "moto_endpoint", "place", "rclone_endpoint"]

FILE, DIRECTORY = DigestKind.FILE, DigestKind.DIRECTORY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c"):
        (tmp_path / "folder" / name).write_bytes(name.encode())
    return tmp_path / "folder"


def test_a_file_is_removed_and_its_neighbours_stay(place: Place, folder: Path) -> None:
    uri = artifact_store.put(place.location, folder / "a", "models/one").uri
    for key in ("models/one-more", "models/on"):
        artifact_store.put(place.location, folder / "b", key)
    assert removing.remove(place.location, uri, FILE) == Removed(1)
    assert place.keys() == ["models/on", "models/one-more"]
    assert removing.remove(place.location, uri, FILE) == Removed(0)


def test_a_directory_is_removed_with_its_sums_and_its_neighbours_stay(place: Place, folder: Path) -> None:
    uri = artifact_store.put(place.location, folder, "models/one").uri
    artifact_store.put(place.location, folder, "models/one-more")
    assert removing.remove(place.location, uri, DIRECTORY) == Removed(4)
    left = place.keys()
    assert [key for key in left if not key.startswith("models/one-more")] == []
    assert removing.remove(place.location, uri, DIRECTORY) == Removed(0)
    with pytest.raises(ArtifactMissing):
        artifact_store.measure(place.location, uri)


def test_what_an_interrupted_removal_left_is_removed(place: Place, folder: Path) -> None:
    uri = artifact_store.put(place.location, folder, "models/one").uri
    place.remove("models/one.SHA256SUMS")
    with pytest.raises(ArtifactMissing):
        artifact_store.measure(place.location, uri)
    assert removing.remove(place.location, uri, DIRECTORY) == Removed(3)
    assert place.keys() == []


def test_what_was_removed_can_be_stored_again(place: Place, folder: Path) -> None:
    for source, kind in ((folder, DIRECTORY), (folder / "a", FILE)):
        stored = artifact_store.put(place.location, source, "models/one")
        removing.remove(place.location, stored.uri, kind)
        assert artifact_store.put(place.location, source, "models/one") == stored
        removing.remove(place.location, stored.uri, kind)


@pytest.mark.parametrize("key", ["", "../outside", "a//b", "one.SHA256SUMS", ".hidden"])
def test_what_names_no_artifact_is_refused(place: Place, key: str) -> None:
    with pytest.raises(BadInput):
        removing.remove(place.location, f"{place.location.root}/{key}", DIRECTORY)
    with pytest.raises(BadInput, match="not below the artifact root"):
        removing.remove(place.location, "s3://other/key", FILE)


def test_something_of_another_kind_is_left_alone(directory_place: Place, folder: Path) -> None:
    root = directory_place.location
    file, whole = artifact_store.put(root, folder / "a", "file"), artifact_store.put(root, folder, "folder")
    for uri, other in ((file.uri, DIRECTORY), (whole.uri, FILE)):
        with pytest.raises(BadInput, match="nothing was removed"):
            removing.remove(root, uri, other)
    assert [artifact_store.measure(root, one.uri) for one in (file, whole)] == [file, whole]


def test_nothing_is_removed_through_a_link(directory_place: Place, folder: Path, tmp_path: Path) -> None:
    artifact_store.put(directory_place.location, folder / "a", "models/one")
    (tmp_path / "store" / "linked").symlink_to(folder)
    for key in ("linked", "linked/deep"):
        with pytest.raises(BadInput, match="symbolic link"):
            removing.remove(directory_place.location, f"{directory_place.location.root}/{key}", DIRECTORY)
    assert (folder / "deep" / "c").exists()


@pytest.mark.parametrize("locked", [False, True])
def test_a_bucket_that_keeps_versions_says_so_and_has_nothing_there_any_more(
    aws_credentials: None, moto_endpoint: str, folder: Path, tmp_path: Path, locked: bool
) -> None:
    client, bucket = s3_client(moto_endpoint), f"versions-{str(locked).lower()}"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locked)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    location = Location(f"s3://{bucket}/{tmp_path.name}", moto_endpoint)
    stored = artifact_store.put(location, folder, "models/one")
    if locked:
        key = f"{tmp_path.name}/models/one/a"
        client.put_object_legal_hold(Bucket=bucket, Key=key, LegalHold={"Status": "ON"})
    assert removing.remove(location, stored.uri, DIRECTORY) == Removed(4, versions_stay=True)
    with pytest.raises(ArtifactMissing):
        artifact_store.measure(location, stored.uri)
    assert removing.remove(location, stored.uri, DIRECTORY) == Removed(0)
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 4


@pytest.mark.parametrize("status", [403, 503])
def test_a_bucket_that_refuses_is_unavailable(aws_credentials: None, status: int) -> None:
    with always_answering(status) as endpoint, pytest.raises(Unavailable) as caught:
        removing.remove(Location("s3://ai-infra-test/x", endpoint), "s3://ai-infra-test/x/models/one", FILE)
    assert caught.value.part == "artifact_store"
