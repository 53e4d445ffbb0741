"""Reading and judging what a store holds: kind, digest, and whether a directory is the one its sums list.

Works on any store by checked key; where the bytes lie and which digest was expected does not live here.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol

from aiinfra_core import checksums
from aiinfra_core.artifact_store import local, streams
from aiinfra_core.artifact_store.streams import Hashed, Stream
from aiinfra_core.domain.artifact import DigestKind, StoredArtifact
from aiinfra_core.errors import ArtifactMissing, BadInput, DigestMismatch

Look = Callable[[str, memoryview], object]
"""Is shown each block of each file as it is read; the name is empty where the artifact is one file."""


class Store(Protocol):
    """What `local.LocalStore` and `s3.S3Store` both do, by checked key."""

    def kind(self, key: str) -> DigestKind | None:
        """Tell what is at a key, if anything."""
        ...

    def has_sums(self, key: str) -> bool:
        """Tell whether a finished directory is at a key."""
        ...

    def files(self, key: str) -> list[str]:
        """Return the relative paths of the files of a directory, byte-sorted."""
        ...

    def children(self, folder: str) -> Iterator[str]:
        """Yield the names directly below a folder, in no order; those of folders end in `/`."""
        ...

    def opened(self, key: str) -> AbstractContextManager[Stream]:
        """Open the file at a key for reading."""
        ...

    def put_file(self, key: str, stream: Stream) -> Hashed:
        """Store a stream; `FileExistsError` when something is at the key."""
        ...

    def put_directory(self, key: str, source: Path, names: list[str]) -> dict[str, Hashed]:
        """Store files of a directory; `FileExistsError` as above."""
        ...


def kind_at(store: Store, uri: str, key: str) -> DigestKind:
    """Tell what kind of artifact is at a key.

    Raises:
        ArtifactMissing: nothing, or an unfinished directory.
    """
    kind = store.kind(key)
    if kind is None:
        raise ArtifactMissing(f"Nothing is stored at {uri}; check the URI, or store the artifact first.")
    if kind is DigestKind.DIRECTORY and not store.has_sums(key):
        raise ArtifactMissing(f"{uri} is an unfinished directory; store it again, or put its {checksums.SUMS_SUFFIX[1:]} beside it.")
    return kind


def measure(store: Store, uri: str, key: str, look: Look | None = None) -> StoredArtifact:
    """Read everything at a key, showing it to `look` on the way.

    Raises:
        ArtifactMissing: nothing is there.
        DigestMismatch: a directory's files are not those that its sums list.
    """
    if kind_at(store, uri, key) is DigestKind.FILE:
        with store.opened(key) as stream:
            return file_artifact(uri, streams.pour(stream, look and partial(look, "")))
    files = {}
    for name in store.files(key):
        with store.opened(f"{key}/{name}") as stream:
            files[name] = streams.pour(stream, look and partial(look, name))
    _refuse_other_sums(store, uri, key, files)
    return directory_artifact(uri, files)


def copy(store: Store, uri: str, key: str, kind: DigestKind, content: Path) -> str:
    """Copy everything at a key to a new path and return the digest of what was copied."""
    if kind is DigestKind.FILE:
        with store.opened(key) as stream:
            return local.write_file(content, stream).checksum
    files = {}
    for name in store.files(key):
        with store.opened(f"{key}/{name}") as stream:
            files[name] = local.write_file(content / name, stream)
    return directory_artifact(uri, files).checksum


def read(store: Store, uri: str, key: str, limit: int | None = None) -> bytes:
    """Return the bytes of a small file, refusing more than `limit` before reading any."""
    data = bytearray()
    with store.opened(key) as stream:
        if limit is not None and stream.size > limit:
            raise BadInput(f"{uri} has {stream.size} bytes, more than the {limit} read at once; fetch it instead.")
        streams.pour(stream, data.extend)
    return bytes(data)


def _refuse_other_sums(store: Store, uri: str, key: str, files: dict[str, Hashed]) -> None:
    found = checksums.sums_text({name: item.checksum for name, item in files.items()})
    listed = read(store, uri, key + checksums.SUMS_SUFFIX)
    if found != listed:
        differing = min(set(found.splitlines()) ^ set(listed.splitlines()), key=lambda line: line[66:], default=b"")
        raise DigestMismatch(
            f"{uri} holds files with the digest {checksums.sha256_hex(found)}, but its sums say {checksums.sha256_hex(listed)}; "
            f"look at {differing[66:].decode(errors='replace')!r} first."
        )


def file_artifact(uri: str, hashed: Hashed) -> StoredArtifact:
    """Describe a stored file."""
    return StoredArtifact(uri=uri, digest_kind=DigestKind.FILE, checksum=hashed.checksum, size_bytes=hashed.size)


def directory_artifact(uri: str, files: dict[str, Hashed]) -> StoredArtifact:
    """Describe a stored directory by the files in it."""
    digest = checksums.directory_digest({name: item.checksum for name, item in files.items()})
    size = sum(item.size for item in files.values())
    return StoredArtifact(uri=uri, digest_kind=DigestKind.DIRECTORY, checksum=digest, size_bytes=size)
