"""What is put once: never replaced, read as it was first put, locked where asked, on every kind of store."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core.artifact_store import Location, published
from aiinfra_core.errors import BadInput, Conflict, Misconfigured, NotFound, Unavailable
from tests.simulators.artifact_places import Place, directory_place, place
from tests.simulators.s3_servers import (
    BUCKET,
    always_answering,
    aws_credentials,
    location_at,
    moto_endpoint,
    rclone_endpoint,
    s3_client,
)
from tests.simulators.scripted_server import unused_url

__all__ = ["aws_credentials", "directory_place", "moto_endpoint", "place", "rclone_endpoint"]

LOCKED = "ai-infra-locked"


@pytest.fixture
def client(aws_credentials: None, moto_endpoint: str) -> Any:
    return s3_client(moto_endpoint)


@pytest.fixture
def locked(client: Any, moto_endpoint: str, tmp_path: Path) -> Location:
    """Give a place in a bucket with versions and Object Lock."""
    if LOCKED not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
    return Location(f"s3://{LOCKED}/{tmp_path.name}", moto_endpoint)


@pytest.mark.slow
def test_what_is_put_once_is_read_again_and_never_replaced(place: Place) -> None:
    for _ in range(2):
        published.put_once(place.location, "log/1", b"first")
    with pytest.raises(Conflict, match="holds other bytes"):
        published.put_once(place.location, "log/1", b"second")
    assert published.read_oldest(place.location, "log/1") == b"first"
    with pytest.raises(NotFound):
        published.read_oldest(place.location, "log/2")


@pytest.mark.slow
def test_names_are_listed_in_order_and_from_any_place_on(place: Place) -> None:
    assert list(published.names_below(place.location, "log")) == []
    for name in ("log/2", "log/10", "log/1", "log/deeper/3", "logs/4"):
        published.put_once(place.location, name, b"x")
    assert list(published.names_below(place.location, "log")) == ["1", "10", "2"]
    assert list(published.names_below(place.location, "log", "1")) == ["10", "2"]
    assert list(published.names_below(place.location, "log", "2")) == []


def test_a_name_outside_the_place_is_refused(place: Place) -> None:
    calls: list[Callable[[str], object]] = [
        lambda name: published.put_once(place.location, name, b"x"),
        lambda name: published.read_oldest(place.location, name),
        lambda name: list(published.names_below(place.location, name)),
    ]
    for call in calls:
        with pytest.raises(BadInput):
            call("../other")


@pytest.mark.slow
def test_many_versions_and_names_are_read_page_by_page(client: Any, locked: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiinfra_core.artifact_store.s3_versions import VersionedS3Store

    whole = VersionedS3Store._call
    pages = itertools.count()

    def small_pages(store: VersionedS3Store, method: str, **arguments: Any) -> Any:
        if method == "list_object_versions":
            next(pages)
            arguments["MaxKeys"] = 2
        return whole(store, method, **arguments)

    prefix = locked.root.rpartition("/")[2]
    for number in range(5):
        published.put_once(locked, f"log/{number}", b"first")
        for later in (b"second", b"third"):
            client.put_object(Bucket=LOCKED, Key=f"{prefix}/log/{number}", Body=later)
    monkeypatch.setattr(VersionedS3Store, "_call", small_pages)
    assert list(published.names_below(locked, "log")) == list("01234")
    assert {published.read_oldest(locked, f"log/{number}") for number in range(5)} == {b"first"}
    assert next(pages) > 10


def test_a_locked_object_stays_readable_whatever_comes_later(client: Any, locked: Location) -> None:
    published.put_once(locked, "log/1", b"first", lock_days=30)
    prefix = locked.root.rpartition("/")[2]
    head = client.head_object(Bucket=LOCKED, Key=f"{prefix}/log/1")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert abs(head["ObjectLockRetainUntilDate"] - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)
    client.put_object(Bucket=LOCKED, Key=f"{prefix}/log/1", Body=b"forged")
    assert published.read_oldest(locked, "log/1") == b"first"
    client.delete_object(Bucket=LOCKED, Key=f"{prefix}/log/1")
    assert published.read_oldest(locked, "log/1") == b"first"
    assert list(published.names_below(locked, "log")) == ["1"]
    published.put_once(locked, "log/1", b"first", lock_days=30)
    with pytest.raises(Conflict):
        published.put_once(locked, "log/1", b"forged", lock_days=30)


@pytest.mark.parametrize("kind", ["directory", "moto", "rclone"])
def test_a_lock_is_refused_where_nothing_can_be_locked(
    request: pytest.FixtureRequest, aws_credentials: None, tmp_path: Path, kind: str
) -> None:
    where = (
        Location(tmp_path.as_uri(), None)
        if kind == "directory"
        else location_at(request.getfixturevalue(f"{kind}_endpoint"), tmp_path.name)
    )
    with pytest.raises(Misconfigured, match="Object Lock"):
        published.put_once(where, "log/1", b"first", lock_days=30)


@pytest.mark.slow
def test_a_store_that_fails_is_unavailable(aws_credentials: None) -> None:
    calls: list[Callable[[Location], object]] = [
        lambda where: published.put_once(where, "log/1", b"x"),
        lambda where: published.read_oldest(where, "log/1"),
        lambda where: list(published.names_below(where, "log")),
    ]
    with always_answering(403) as refusing:
        for endpoint in (refusing, unused_url()):
            for call in calls:
                with pytest.raises(Unavailable) as caught:
                    call(Location(f"s3://{BUCKET}/x", endpoint))
                assert caught.value.part == "artifact_store"
