"""The requests that are open, in a file that outlives its process: what it still holds then was never answered.

A slot is filled when somebody is chosen for a request and cleared when its outcome is counted. Both are stores into mapped memory: what
ends the process does not take them back, and unlike a call to write they do not let other threads go first in the middle of a request.
The file is locked as long as its process lives, also where that hangs.
"""

import fcntl
import logging
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from aiinfra_core.domain.rollout import Arm
from aiinfra_core.errors import Unavailable

logger = logging.getLogger(__name__)
SLOTS = 8192
"""How many open requests a process writes down; those beyond are only in its memory."""
PATTERN = "*.ledger"

_MAGIC = b"ai-infra open 1\n"
_HEAD = struct.Struct("<16s240s")  # the magic and who reports
_SLOT = struct.Struct("<QQ16s")  # the place, 0 while it is free; the user; the rollout
_USER_AND_ROLLOUT = struct.Struct("<Q16s")
_SIZE = _HEAD.size + SLOTS * _SLOT.size
_MOST_STEP = 20


@dataclass(frozen=True)
class Open:
    """A request that was open: of which rollout, step and arm, and by which digest its user is counted, None where requests are."""

    rollout_id: UUID
    step: int
    arm: Arm
    user: str | None


@dataclass(frozen=True)
class Left:
    """What a process that is gone left open, under the file's name and the process's own."""

    name: str
    reporter: str
    open: tuple[Open, ...]


class Ledger:
    """A process's own ledger. Whoever uses it sees to it that one thread does so at a time."""

    def __init__(self, folder: Path, reporter: str) -> None:
        """Make a file in the folder, which others see only once it is whole and locked.

        Raises:
            Unavailable: the disk cannot be written to, or knows no locks.
        """
        self.path = folder / f"{uuid4()}.ledger"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".new", delete=False)  # noqa: SIM115
            self._mapped = self._made(reporter)
        except OSError as error:
            raise Unavailable(
                "artifact_store", f"Nothing in {folder} can keep what is open if this process is killed ({error.strerror}); mend that."
            ) from error
        self._words, self._free = memoryview(self._mapped).cast("Q"), list(range(SLOTS))

    def _made(self, reporter: str) -> mmap.mmap:
        new = Path(self._file.name)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            # All of it is written now: a store into mapped memory the disk has no room for would end the process.
            self._file.write(_HEAD.pack(_MAGIC, reporter.encode()[:240]).ljust(_SIZE, b"\0"))
            self._file.flush()
            os.fsync(self._file.fileno())
            mapped = mmap.mmap(self._file.fileno(), _SIZE)
            new.rename(self.path)
        except OSError:
            new.unlink(missing_ok=True)
            raise
        return mapped

    def enter(self, rollout_id: UUID, step: int, arm: Arm, user: str | None) -> int | None:
        """Write down that a request is open; return its slot, None where all are taken."""
        if not self._free:
            return None
        slot = self._free.pop()
        start = _HEAD.size + slot * _SLOT.size
        _USER_AND_ROLLOUT.pack_into(self._mapped, start + 8, 0 if user is None else int(user, 16), rollout_id.bytes)
        self._words[start // 8] = 1 + step * 4 + (arm is Arm.CHALLENGER) * 2 + (user is not None)  # last: from now on the slot counts
        return slot

    def leave(self, slot: int) -> None:
        """Write down that the request of a slot is open no longer."""
        self._words[(_HEAD.size + slot * _SLOT.size) // 8] = 0
        self._free.append(slot)

    def close(self) -> None:
        """Remove the file: what is open in it is counted."""
        self._words.release()
        self._mapped.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._file.close()


def take(path: Path, adopt: Callable[[Left], None]) -> None:
    """Give what a process that is gone left to `adopt`, then remove it; nothing happens while it lives or where another was quicker.

    After a kill between the two it is adopted again, word for word the same.
    """
    with suppress(OSError), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink:
            adopt(_read(path.name, file.read()))
            path.unlink()


def _read(name: str, data: bytes) -> Left:
    if len(data) != _SIZE or not data.startswith(_MAGIC):
        logger.warning("%s is no ledger of open requests and is removed.", name)
        return Left(name, "", ())
    _, reporter = _HEAD.unpack_from(data)
    return Left(name, reporter.rstrip(b"\0").decode(errors="ignore"), tuple(_opened(data)))


def _opened(data: bytes) -> Iterator[Open]:
    for place, user, rollout in _SLOT.iter_unpack(data[_HEAD.size :]):
        step, rest = divmod(place - 1, 4)
        if 0 <= step <= _MOST_STEP:
            arm = Arm.CHALLENGER if rest & 2 else Arm.CHAMPION
            yield Open(UUID(bytes=rollout), step, arm, f"{user:016x}" if rest & 1 else None)
