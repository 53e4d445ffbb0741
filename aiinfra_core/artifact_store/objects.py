"""Small records under names of ours: put once, read whole, listed folder by folder. Artifacts themselves live in the package."""

from collections.abc import Iterator

from aiinfra_core.artifact_store import SMALL_BYTES, Location, checked_key, reading, reported, store_of, streams
from aiinfra_core.errors import BadInput, DigestMismatch


def put(location: Location, key: str, data: bytes) -> None:
    """Store bytes under a key; repeatable, never replacing others where the server knows `If-None-Match`.

    Raises:
        DigestMismatch: other bytes are at the key.
        Unavailable: the store cannot be reached, refuses, or is full.
    """
    store = store_of(location)
    with reported(location):
        try:
            store.put_file(checked_key(key), streams.of_bytes(data))
        except FileExistsError:
            if reading.read(store, f"{location.root}/{key}", key) != data:
                raise DigestMismatch(f"{location.root}/{key} already holds other bytes; look who changed them.") from None


def read(location: Location, key: str, limit: int = SMALL_BYTES) -> bytes:
    """Return the bytes under a key.

    Raises:
        BadInput: there are more than `limit`.
        NotFound: nothing is there.
        Unavailable: the store cannot be reached or refuses.
    """
    with reported(location):
        return reading.read(store_of(location), f"{location.root}/{key}", checked_key(key), limit)


def children(location: Location, folder: str) -> Iterator[str]:
    """Yield the names directly below a folder (ending in `/`), in no order; those of folders end in `/`.

    Raises:
        Unavailable: the store cannot be reached or refuses.
    """
    if not folder.endswith("/"):
        raise BadInput("A folder's name ends in a slash.")
    checked_key(folder[:-1])
    with reported(location):
        yield from store_of(location).children(folder)
