"""Artifacts in a local directory: built under a hidden name, flushed to disk, then given their name in one step.

While `NAME` is written, `.NAME.partial/` beside it holds what there is so far, under a lock that ends with the writer's
life: what a killed writer left is removed by the next one, what a living one holds is waited for. What the bytes mean does
not live here.
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiinfra_core import checksums
from aiinfra_core.artifact_store import streams
from aiinfra_core.artifact_store.streams import Hashed, Stream
from aiinfra_core.domain.artifact import DigestKind
from aiinfra_core.errors import BadInput, Unavailable

WAIT_FOR_WRITER_SECONDS = 60.0
_WRITE_BYTES = 2**16  # measured: larger writes make the kernel hunt for large pages and cost twice the CPU
_FLUSH_BYTES = 2**23


@dataclass(frozen=True)
class LocalStore:
    """The directory that holds every artifact; keys are checked by the caller."""

    root: Path

    def check(self) -> None:
        """See that the root can be written to, or made."""
        there = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))

    def kind(self, key: str) -> DigestKind | None:
        """Tell what is at a key, if anything."""
        path = self._inside(key)
        if not os.path.lexists(path):
            return None
        return DigestKind.DIRECTORY if streams.is_directory(path) else DigestKind.FILE

    def has_sums(self, key: str) -> bool:
        """Tell whether a finished directory is at a key."""
        return _sums_beside(self._inside(key)).exists()

    def files(self, key: str) -> list[str]:
        """Return the relative paths of the files of a directory, byte-sorted."""
        return streams.files_below(self._inside(key))

    def children(self, folder: str) -> Iterator[str]:
        """Yield the names directly below a folder (empty, or ending in `/`), in no order; those of folders end in `/`.

        What a killed writer left half-way is not there.
        """
        place = self._inside(folder.rstrip("/"))
        if place.is_dir():
            with os.scandir(place) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if not (is_folder and entry.name.startswith(".") and entry.name.endswith(".partial")):
                        yield entry.name + "/" * is_folder

    def opened(self, key: str) -> AbstractContextManager[Stream]:
        """Open the file at a key, or one inside a directory, for reading."""
        return streams.of_file(self._inside(key))

    def put_file(self, key: str, stream: Stream) -> Hashed:
        """Store a stream under a key.

        Raises:
            FileExistsError: something is at the key already.
        """
        final = self._inside(key)
        with building(final) as partial:
            hashed = write_file(partial / "content", stream)
            publish(partial, final)
        return hashed

    def put_directory(self, key: str, source: Path, names: list[str]) -> dict[str, Hashed]:
        """Store the named files of a directory under a key, its sums beside it first: a directory that can be seen is whole.

        Raises:
            FileExistsError: something is at the key already.
        """
        final = self._inside(key)
        with building(final) as partial:
            hashed = {}
            for name in names:
                with streams.of_source(source / name) as stream:
                    hashed[name] = write_file(partial / "content" / name, stream)
            sums = checksums.sums_text({name: item.checksum for name, item in hashed.items()})
            write_file(partial / "sums", streams.of_bytes(sums))
            (partial / "sums").replace(_sums_beside(final))
            publish(partial, final)
        return hashed

    def _inside(self, key: str) -> Path:
        path = os.path.realpath(self.root)
        for part in key.split("/"):
            path = f"{path}/{part}"
            if Path(path).is_symlink():
                raise BadInput(f"{key} leads out of the artifact store through a symbolic link; name the artifact itself.")
        return Path(path)


@contextmanager
def building(final: Path) -> Iterator[Path]:
    """Give the one living writer of `final` an empty directory beside it to build in; it is gone afterwards.

    Raises:
        FileExistsError: something is at `final`.
        Unavailable: another writer did not finish within `WAIT_FOR_WRITER_SECONDS`.
    """
    _make_directories(final.parent)
    partial = final.parent / f".{final.name}.partial"
    lock = _locked(partial)
    try:
        _empty(partial)
        if os.path.lexists(final):
            raise FileExistsError(final)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def write_file(path: Path, stream: Stream) -> Hashed:
    """Write a stream to a new read-only file and flush it to disk, hashing on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb", buffering=0) as file:
        hashed = streams.pour(stream, _writer_to(file.fileno()))
        os.fchmod(file.fileno(), 0o444)
        os.fsync(file.fileno())
    return hashed


def publish(partial: Path, final: Path) -> None:
    """Give the file or directory `partial/content` its name in one step, never replacing anything.

    Raises:
        FileExistsError: something is at `final`.
    """
    built = partial / "content"
    if built.is_file():
        os.link(built, final)
    else:
        for directory, _, _ in os.walk(built):
            _flush_directory(Path(directory))
        _rename_directory(built, final)
    _flush_directory(final.parent)


# The lock is on the directory itself: a waiter may win the lock on one that its writer has removed since, and starts over.
def _locked(partial: Path) -> int:
    deadline = time.monotonic() + WAIT_FOR_WRITER_SECONDS
    while True:
        partial.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if partial.exists() and partial.stat().st_ino == os.fstat(lock).st_ino:
                return lock
        except BlockingIOError:
            pass
        os.close(lock)
        if time.monotonic() > deadline:
            raise Unavailable(
                "artifact_store", f"Another process has been writing {partial.name} all this time; try again when it is done."
            )
        time.sleep(0.02)


def _empty(partial: Path) -> None:
    for child in partial.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()


def _writer_to(descriptor: int) -> streams.Drain:
    written = flushed = 0

    def write(block: memoryview) -> None:
        nonlocal written, flushed
        while block:
            count = os.write(descriptor, block[:_WRITE_BYTES])
            written, block = written + count, block[count:]
        if written - flushed >= _FLUSH_BYTES:
            # Said of pages not yet on disk, DONTNEED starts writing them and keeps them: the fsync at the end finds little to do.
            os.posix_fadvise(descriptor, flushed, written - flushed, os.POSIX_FADV_DONTNEED)
            flushed = written

    return write


# rename(2) does not replace a directory with something in it, nor a file, but says so in several ways.
def _rename_directory(built: Path, final: Path) -> None:
    try:
        built.rename(final)
    except OSError as error:
        if os.path.lexists(final):
            raise FileExistsError(final) from error
        raise


def _sums_beside(path: Path) -> Path:
    return path.with_name(path.name + checksums.SUMS_SUFFIX)


def _make_directories(directory: Path) -> None:
    if directory.is_dir():
        return
    if os.path.lexists(directory) and not directory.is_dir():  # another writer may have made it between the two looks
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
    _make_directories(directory.parent)
    directory.mkdir(exist_ok=True)
    _flush_directory(directory.parent)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
