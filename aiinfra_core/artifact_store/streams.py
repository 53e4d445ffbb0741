"""Reading what is to be stored and hashing it on the way: sources, and the one pass of hashing and writing.

Where the bytes go does not live here; see `local` and `s3`.
"""

import hashlib
import io
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiinfra_core.checksums import checked_path
from aiinfra_core.errors import BadInput

INLINE_BYTES = 256 * 1024
BLOCK_BYTES = 2**20
BLOCKS_IN_FLIGHT = 4
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Drain = Callable[[memoryview], object]


@dataclass(frozen=True)
class Stream:
    """Bytes to be read once.

    `fill` writes the next ones into a buffer and returns how many, 0 at the end; `size` is how many to expect in all;
    `block_bytes` is how many to ask for at a time.
    """

    fill: Callable[[memoryview], int]
    size: int
    block_bytes: int = BLOCK_BYTES


@dataclass(frozen=True)
class Hashed:
    """What went by: hex SHA-256 and number of bytes."""

    checksum: str
    size: int


def pour(stream: Stream, drain: Drain | None = None) -> Hashed:
    """Read a stream to its end, hashing each block in a second thread while it is drained and the next one is read.

    Every block but the last has the stream's `block_bytes`; memory is `BLOCKS_IN_FLIGHT` blocks whatever the size. A drain must be
    done with the block when it returns.
    """
    if stream.size < INLINE_BYTES:
        return _pour_inline(stream, drain)
    digest, size = hashlib.sha256(), 0
    block_bytes = min(stream.block_bytes, stream.size + 1)
    blocks: list[memoryview] = []
    hashing: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="sha256") as hasher:
        while True:
            if len(hashing) == BLOCKS_IN_FLIGHT:
                hashing.popleft().result()
                blocks.append(blocks.pop(0))
            else:
                blocks.append(memoryview(bytearray(block_bytes)))
            filled = blocks[-1][: _fill_whole(stream, blocks[-1])]
            size += len(filled)
            hashing.append(hasher.submit(digest.update, filled))
            if drain is not None and filled:
                drain(filled)
            if len(filled) < block_bytes:
                break
    return Hashed(digest.hexdigest(), size)


# Starting a thread costs more than hashing this little.
def _pour_inline(stream: Stream, drain: Drain | None) -> Hashed:
    digest, size, block = hashlib.sha256(), 0, memoryview(bytearray(stream.size + 1))
    while True:
        filled = block[: _fill_whole(stream, block)]
        size += len(filled)
        digest.update(filled)
        if drain is not None and filled:
            drain(filled)
        if len(filled) < len(block):
            return Hashed(digest.hexdigest(), size)


def of_bytes(data: bytes) -> Stream:
    """Return bytes in memory as a stream."""
    return Stream(io.BytesIO(data).readinto, len(data))


@contextmanager
def of_file(path: Path) -> Iterator[Stream]:
    """Open a regular file as a stream that refuses to end when the file changed while it was read.

    Raises:
        BadInput: it is a symbolic link or a special file, or (on reading) its size or time of change moved.
        OSError: it cannot be opened or read.
    """
    descriptor = os.open(path, _OPEN_FLAGS)
    with io.FileIO(descriptor) as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise BadInput(f"{path} is not a regular file; store files and directories of files only.")

        def fill(block: memoryview) -> int:
            count = file.readinto(block)
            if not count:
                _refuse_change(path, before, os.fstat(descriptor), file.tell())
            return count

        yield Stream(fill, before.st_size)


@contextmanager
def of_source(path: Path) -> Iterator[Stream]:
    """Open a caller's file as `of_file` does; that it cannot be opened is the caller's to mend.

    Raises:
        BadInput: it cannot be opened, is not a regular file, or changed while it was read.
    """
    with ExitStack() as stack:
        with source_errors(path):
            stream = stack.enter_context(of_file(path))
        yield stream


@contextmanager
def source_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a caller's path into `BadInput`."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error


def is_directory(source: Path) -> bool:
    """Tell a directory from a regular file.

    Raises:
        BadInput: it is neither, or absent; a symbolic link is neither.
    """
    with source_errors(source):
        mode = source.lstat().st_mode
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise BadInput(f"{source} is a symbolic link or a special file; store files and directories of files only.")
    return stat.S_ISDIR(mode)


def files_below(directory: Path) -> list[str]:
    """Return the relative POSIX paths of all files below a directory, byte-sorted.

    Raises:
        BadInput: it or a directory below is empty (a digest over files cannot record that), or holds a symbolic link, a
            special file or a name that `checksums.checked_path` refuses.
    """
    return sorted(_walk(directory, ""), key=str.encode)


def _walk(directory: Path, prefix: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        children = list(entries)
    if not children:
        raise BadInput(f"{directory} is empty, which no digest over files can record; remove it or put a file into it.")
    for entry in children:
        name = checked_path(prefix + entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), name + "/")
        elif entry.is_file(follow_symlinks=False):
            yield name
        else:
            raise BadInput(f"{entry.path} is a symbolic link or a special file; an artifact holds regular files only.")


def _fill_whole(stream: Stream, block: memoryview) -> int:
    filled = 0
    while filled < len(block) and (count := stream.fill(block[filled:])):
        filled += count
    return filled


def _refuse_change(path: Path, before: os.stat_result, after: os.stat_result, read: int) -> None:
    if (read, after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        raise BadInput(f"{path} changed while it was read; store it again when its writer is done.")
