"""Every kind of place an artifact store can be in, for tests of what all of them promise."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiinfra_core.artifact_store import Location
from tests.simulators.s3_servers import BUCKET, location_at, object_keys, s3_client


@dataclass(frozen=True)
class Place:
    """A store under test, and the ways to meddle with it behind the product's back."""

    location: Location
    keys: Callable[[], list[str]]
    overwrite: Callable[[str, bytes], None]
    remove: Callable[[str], None]


@pytest.fixture
def directory_place(tmp_path: Path) -> Place:
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
        found: Place = request.getfixturevalue("directory_place")
        return found
    request.getfixturevalue("aws_credentials")
    return bucket(request.getfixturevalue(f"{request.param}_endpoint"), tmp_path.name)


def in_directory(source: Path) -> Path:
    """Move a file into a new directory, as `b` after a small `a`, and return the directory."""
    folder = source.with_name(f"folder-with-{source.name}")
    folder.mkdir()
    (folder / "a").write_bytes(b"first")
    source.rename(folder / "b")
    return folder
