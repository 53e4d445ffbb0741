"""What is put once for outsiders to compare: under names of ours, never replaced, locked where asked, read as it was first put.

On a bucket with versions the oldest version counts, so that nothing put later under the same name, and no deletion, changes what a
reader sees. Records that may be read as they are now are kept by `objects`.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from aiinfra_core.artifact_store import Location, checked_key, reading, reported, store_of, streams
from aiinfra_core.errors import Conflict, Misconfigured, NotFound

if TYPE_CHECKING:
    from aiinfra_core.artifact_store.s3_versions import VersionedS3Store


def put_once(location: Location, key: str, data: bytes, lock_days: int | None = None) -> None:
    """Put bytes under a key, in S3 locked (Object Lock, compliance mode) for so many days; putting the same again changes nothing.

    Raises:
        Conflict: other bytes were put there first.
        Misconfigured: they are to be locked where nothing can be.
        Unavailable: the store cannot be reached, refuses, or is full.
    """
    bucket = _bucket(location)
    if bucket is None and lock_days is not None:
        raise Misconfigured("AI_INFRA_CHECKPOINT_LOCK_DAYS needs an S3 bucket made with Object Lock; a directory cannot be locked.")
    with reported(location):
        if _oldest(location, checked_key(key)) is None:
            with suppress(FileExistsError):  # another writer was first: compare with theirs
                if bucket is None:
                    store_of(location).put_file(key, streams.of_bytes(data))
                else:
                    bucket.put_locked(key, data, lock_days)
        if _oldest(location, key) != data:
            raise Conflict(f"{location.root}/{key} holds other bytes, put there first; look who did.")
        if bucket is not None and lock_days is not None:
            bucket.refuse_unlocked(key)


def read_oldest(location: Location, key: str) -> bytes:
    """Return the bytes first put under a key.

    Raises:
        NotFound: there never were any.
        Unavailable: the store cannot be reached or refuses.
    """
    with reported(location):
        found = _oldest(location, checked_key(key))
    if found is None:
        raise NotFound(f"Nothing is at {location.root}/{key}; check the place.")
    return found


def names_below(location: Location, folder: str, after: str = "") -> Iterator[str]:
    """Yield the names of what lies directly below a folder and sorts after one, byte-sorted; with versions, the deleted ones too.

    Raises:
        Unavailable: the store cannot be reached or refuses.
    """
    bucket = _bucket(location)
    with reported(location):
        if bucket is not None:
            yield from bucket.names(f"{checked_key(folder)}/", after)
        else:
            children = store_of(location).children(f"{checked_key(folder)}/")
            yield from sorted(name for name in children if name > after and not name.endswith("/"))


def _oldest(location: Location, key: str) -> bytes | None:
    bucket = _bucket(location)
    if bucket is not None:
        return bucket.oldest(key)
    store = store_of(location)
    return reading.read(store, f"{location.root}/{key}", key) if store.kind(key) else None


def _bucket(location: Location) -> "VersionedS3Store | None":
    if location.root.startswith("file://"):
        return None
    from aiinfra_core.artifact_store import s3, s3_versions  # as in the package: only where they are used

    store = store_of(location)
    return s3_versions.VersionedS3Store(store.bucket, store.prefix, store.endpoint_url) if isinstance(store, s3.S3Store) else None
