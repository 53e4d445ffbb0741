"""Datasets by content: each is fetched once into `cache/<sha256>`, hashed while it is written, and hashed again whenever it is used.

Where the bytes come from is in `dataset_sources`.
"""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from aiinfra_core.domain.training import DatasetRef
from aiinfra_core.errors import DigestMismatch, Unavailable
from aiinfra_core.training import dataset_sources

logger = logging.getLogger(__name__)


def fetch(
    ref: DatasetRef, cache: Path, *, code: Path | None = None, s3_endpoint_url: str | None = None, timeout_seconds: float = 3600.0
) -> Path:
    """Return the verified, read-only file `cache/<sha256>` of a dataset, fetching it when it is not there yet.

    Safe to call at the same time from several processes. A cached file whose bytes have changed is fetched again.

    Args:
        ref: its `uri` is a path, `file://`, `https://`, `http://` or `s3://`; a relative path is one inside `code`.
        cache: the cache's directory.
        code: the checked-out repository.
        s3_endpoint_url: an S3 server other than the configured one.
        timeout_seconds: how long a fetch may take; silence on the line ends it sooner.

    Raises:
        DigestMismatch: what is at the uri has another digest; nothing of it is kept.
        NotFound: there is nothing at the uri.
        BadInput: the uri is of an unknown kind, leads out of the repository, or is not open to this user.
        Unavailable: `dataset`, the source could not be reached or broke off.
    """
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / ref.sha256
    with _sole_writer(cache / f"{ref.sha256}.partial") as partial:
        if not _still_good(kept, ref):
            with closing(dataset_sources.stream(ref, code=code, s3_endpoint_url=s3_endpoint_url)) as chunks:
                found = _write(partial, _until(chunks, ref, timeout_seconds))
            if found != ref.sha256:
                raise DigestMismatch(
                    f"Dataset {ref.name} should have SHA-256 {ref.sha256} but its uri holds {found}; correct the digest or the uri."
                )
            Path(partial.name).rename(kept)
    return kept


def _still_good(kept: Path, ref: DatasetRef) -> bool:
    if not kept.exists():
        return False
    with kept.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == ref.sha256:
            return True
    logger.warning("The cached copy of dataset %s was changed; fetching it again.", ref.name)
    kept.unlink()
    return False


def _write(partial: BinaryIO, chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        partial.write(chunk)
    partial.flush()
    os.fsync(partial.fileno())
    os.fchmod(partial.fileno(), 0o444)
    return digest.hexdigest()


def _until(chunks: Iterator[bytes], ref: DatasetRef, timeout_seconds: float) -> Iterator[bytes]:
    deadline = time.monotonic() + timeout_seconds
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise Unavailable("dataset", f"Dataset {ref.name} did not arrive within {timeout_seconds:g} seconds; try again later.")
        yield chunk


# The lock is on the partial file itself, so a killed fetch leaves neither a lock nor a download that nobody continues.
@contextmanager
def _sole_writer(path: Path) -> Iterator[BinaryIO]:
    while True:
        with path.open("ab") as partial:
            fcntl.flock(partial, fcntl.LOCK_EX)
            if not _is_same_file(path, partial):
                continue  # the one before renamed or removed it while this one waited
            partial.truncate(0)
            try:
                yield partial
            finally:
                if _is_same_file(path, partial):
                    path.unlink()
            return


def _is_same_file(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
