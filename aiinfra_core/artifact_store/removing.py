"""Remove an artifact's bytes, for retention. Whether nobody may use them any more is decided, and recorded, before this is called."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from aiinfra_core import checksums
from aiinfra_core.artifact_store import Location, checked_key, reading, reported, store_of, streams
from aiinfra_core.artifact_store.local import LocalStore
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput, Misconfigured


@dataclass(frozen=True)
class Removed:
    """How many files were removed; `versions_stay` where the bucket keeps what was removed as older versions, by its own rules."""

    files: int
    versions_stay: bool = False


def digest_there(location: Location, uri: str, kind: DigestKind) -> str | None:
    """Return the digest of the file at a URI, or of what the sums of a directory say, which outlive a removal; None if there is none.

    Raises:
        BadInput: the URI is not below the location's root.
        Unavailable: the store cannot be reached or refuses.
    """
    key = _key(location, uri)
    with reported(location):
        store = store_of(location)
        if kind is DigestKind.DIRECTORY:
            return checksums.sha256_hex(reading.read(store, uri, key + checksums.SUMS_SUFFIX)) if store.has_sums(key) else None
        if store.kind(key) is not DigestKind.FILE:
            return None
        with store.opened(key) as stream:
            return streams.pour(stream).checksum


def remove(location: Location, uri: str, kind: DigestKind) -> Removed:
    """Remove a file, or a directory with its sums; repeatable, and what was interrupted is finished.

    The sums go last: as long as files are left they say whose files those are.

    Raises:
        BadInput: the URI is not below the location's root, or something else than that kind is there.
        Unavailable: the store cannot be reached or refuses; what is left can be removed later.
    """
    key = _key(location, uri)
    with reported(location):
        store = store_of(location)
        if isinstance(store, LocalStore):
            return _remove_locally(store.root, key, kind)
        return _remove_from_bucket(location, key, kind)


def _key(location: Location, uri: str) -> str:
    if not uri.startswith(location.root + "/"):
        raise BadInput(f"{uri!r} is not below the artifact root {location.root}.")
    return checked_key(uri.removeprefix(location.root + "/"))


def _remove_locally(root: Path, key: str, kind: DigestKind) -> Removed:
    path = root.resolve() / key
    if path.resolve() != path:
        raise BadInput(f"{key} leads out of the artifact store through a symbolic link; nothing was removed.")
    if kind is DigestKind.FILE:
        return Removed(_unlink(path))
    if path.is_file():
        raise BadInput(f"{path} is a file, where a directory was registered; nothing was removed.")
    removed = 0
    if path.is_dir():
        removed = sum(len(files) for _, _, files in os.walk(path))
        shutil.rmtree(path)
        _flush(path.parent)
    return Removed(removed + _unlink(path.with_name(path.name + checksums.SUMS_SUFFIX)))


def _unlink(path: Path) -> int:
    if path.is_dir():
        raise BadInput(f"{path} is a directory, where a file was registered; nothing was removed.")
    if not path.exists():
        return 0
    path.unlink()
    _flush(path.parent)
    return 1


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_from_bucket(location: Location, key: str, kind: DigestKind) -> Removed:
    from aiinfra_core.artifact_store.s3 import S3Store
    from aiinfra_core.artifact_store.s3_removing import remove as remove_objects

    store = store_of(location)
    if not isinstance(store, S3Store):
        raise Misconfigured(f"{location.root} is no place artifacts can be removed from.")
    files, versions_stay = remove_objects(store, key, kind)
    return Removed(files, versions_stay)
