"""Reading artifacts that records name: only below the roots that are allowed, and only so many at a time.

How one is read and judged is the package's; what is written is below the artifact root alone, and does not live here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import BoundedSemaphore

from aiinfra_core import artifact_store
from aiinfra_core.domain.artifact import StoredArtifact
from aiinfra_core.errors import Unavailable
from aiinfra_core.settings import Settings

LONGEST_WAIT_SECONDS = 20.0


def verify(settings: Settings, uri: str, checksum: str) -> StoredArtifact:
    """Read everything at a URI and return it only if it has this digest; `verify_concurrency` of a process are read at a time.

    Raises:
        BadInput: the URI is below no root that may be read.
        ArtifactMissing: nothing is there.
        DigestMismatch: it has another digest; both are named.
        Unavailable: the store cannot be reached or refuses, or others were read for too long.
    """
    place = artifact_store.location_of(settings, uri)
    with _turn(settings.verify_concurrency):
        return artifact_store.verify(place, uri, checksum)


@contextmanager
def _turn(at_once: int) -> Iterator[None]:
    turns = _turns(at_once)
    if not turns.acquire(timeout=LONGEST_WAIT_SECONDS):
        raise Unavailable(
            "artifact_store", f"{at_once} artifacts are being read already; ask again later, or raise AI_INFRA_VERIFY_CONCURRENCY."
        )
    try:
        yield
    finally:
        turns.release()


@lru_cache(maxsize=4)
def _turns(at_once: int) -> BoundedSemaphore:
    return BoundedSemaphore(at_once)
