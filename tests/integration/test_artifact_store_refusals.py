"""What no store takes: odd sources, addresses that lead elsewhere, roots that are no place."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aiinfra_core import artifact_store
from aiinfra_core.artifact_store import Location
from aiinfra_core.errors import BadInput, Misconfigured
from aiinfra_core.settings import Settings
from tests.simulators.artifact_places import Place, directory_place, place
from tests.simulators.s3_servers import BUCKET, aws_credentials, moto_endpoint, rclone_endpoint

__all__ = ["aws_credentials", "directory_place", "moto_endpoint", "place", "rclone_endpoint"]


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
