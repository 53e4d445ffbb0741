"""The files of a trust directory: each is there whole or not at all, and one process writes at a time. What they mean is `changing`'s."""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from aiinfra_core import trust_directory
from aiinfra_core.errors import Misconfigured
from aiinfra_core.evidence.tuf_metadata import TARGETS, TRUST, root_name, root_versions

_PENDING = "pending"


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files that count, name to bytes; none where there is no such directory.

    Raises:
        Misconfigured: it cannot be read.
    """
    return trust_directory.read(folder) if folder.is_dir() else {}


def pending_root(folder: Path) -> bytes | None:
    """Return the root that waits for signatures, if one does.

    Raises:
        Misconfigured: it cannot be read.
    """
    waiting = files_of(folder / _PENDING)
    versions = root_versions(waiting)
    return waiting[root_name(versions[-1])] if versions else None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only writer; what a killed one left half done is finished first.

    Raises:
        Misconfigured: the directory cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _finish(folder)
        yield
    finally:
        os.close(descriptor)


def write_pending(folder: Path, name: str, root: bytes) -> None:
    """Keep a root that waits for signatures.

    Raises:
        Misconfigured: the directory cannot be written.
    """
    _write(folder / _PENDING / name, root)


def write_root(folder: Path, name: str, root: bytes, targets: Mapping[str, bytes]) -> None:
    """Let a root count, together with the `targets.json` and `trust.json` it asks for, where it asks for new ones.

    Raises:
        Misconfigured: the directory cannot be written.
    """
    write_pending(folder, name, root)
    if targets:
        _write(folder / trust_directory.copy_name(targets[TARGETS]), targets[TRUST])
        _write(folder / _PENDING / TARGETS, targets[TARGETS])
    _write(folder / name, root)
    _finish(folder)


def write_targets(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace `targets.json` and the `trust.json` it names; a reader meets the one pair or the other.

    Raises:
        Misconfigured: the directory cannot be written.
    """
    _write(folder / trust_directory.copy_name(files[TARGETS]), files[TRUST])
    _write(folder / TARGETS, files[TARGETS])
    _write(folder / TRUST, files[TRUST])


# Between a new root and the targets it asks for somebody may have been killed: the root being there decides that both are.
def _finish(folder: Path) -> None:
    targets = folder / _PENDING / TARGETS
    for pending in (folder / _PENDING).glob("*.root.json"):
        if (folder / pending.name).exists():
            if targets.exists():
                data = targets.read_bytes()
                write_targets(folder, {TARGETS: data, TRUST: (folder / trust_directory.copy_name(data)).read_bytes()})
            pending.unlink()
    targets.unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or another root waits in it
        (folder / _PENDING).rmdir()


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, 0o644)  # public, and read by servers that run as others
            os.fsync(descriptor)
        Path(draft).replace(path)
    except OSError as error:
        raise _unwritable(path.parent, error) from None


def _unwritable(folder: Path, error: OSError) -> Misconfigured:
    return Misconfigured(f"The trust directory {folder} cannot be written ({error.strerror}); name one that can.")
