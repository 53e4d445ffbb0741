"""Reading artifacts that records name: only below the roots that are allowed, and only so many at a time.

How one is read and judged is the package's; what is written is below the artifact root alone, and does not live here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import BoundedSemaphore

from aiinfra_core import artifact_store
from aiinfra_core.artifact_store.reading import Look
from aiinfra_core.domain.artifact import StoredArtifact
from aiinfra_core.errors import Unavailable
from aiinfra_core.settings import Settings

LONGEST_WAIT_SECONDS = 20.0
MOMENT_SECONDS = 0.25
MOST_WAITING = 8
_crowds: list[BoundedSemaphore] = []


def verify(settings: Settings, uri: str, checksum: str, look: Look | None = None) -> StoredArtifact:
    """Read everything at a URI and return it only if it has this digest; `verify_concurrency` of a process are read at a time.

    `look` is shown every block on the way, before it is known whether the digest is the right one.

    Raises:
        BadInput: the URI is below no root that may be read.
        ArtifactMissing: nothing is there.
        DigestMismatch: it has another digest; both are named.
        Unavailable: the store cannot be reached or refuses, others were read for too long, or too many wait.
    """
    place = artifact_store.location_of(settings, uri)
    with being_with_artifacts(), _turn(settings.verify_concurrency):
        return artifact_store.verify(place, uri, checksum, look)


@contextmanager
def leaving_threads_free(settings: Settings) -> Iterator[None]:
    """Let no more than half of a service's threads be with artifacts while the block runs, whether they read or wait for their turn.

    `verify_concurrency` may read and `MOST_WAITING` wait. The others are refused after a moment, in which small artifacts would be read.
    """
    half = settings.worker_threads // 2 - 1  # one more may be at other work of a verification
    _crowds.append(BoundedSemaphore(max(1, min(settings.verify_concurrency + MOST_WAITING, half))))
    try:
        yield
    finally:
        _crowds.pop()


@contextmanager
def being_with_artifacts() -> Iterator[None]:
    """Be one of those with artifacts while the block runs, where `leaving_threads_free` bounds them.

    Raises:
        Unavailable: too many are.
    """
    if not _crowds:
        yield
        return
    places = _crowds[-1]
    if not places.acquire(timeout=MOMENT_SECONDS):
        raise Unavailable("artifact_store", "Too many wait for artifacts to be read already; ask again later.")
    try:
        yield
    finally:
        places.release()


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
