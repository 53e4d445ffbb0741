"""The directory a run works in: one run at a time, begun empty, whatever an earlier one that was killed left there."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiinfra_core.errors import Unavailable

WAIT_FOR_SCRATCH_SECONDS = 15.0


# The lock passes to the processes of a run: after a kill, the next call waits here until none of them is left.
@contextmanager
def alone_in(scratch: Path) -> Iterator[int]:
    """Hold a scratch directory, which is made when it is not there; give the descriptor that holds it.

    Raises:
        Unavailable: `training`, somebody else holds it and does not let go in time.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    patience = time.monotonic() + WAIT_FOR_SCRATCH_SECONDS
    with (scratch / ".lock").open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > patience:
                    raise Unavailable("training", f"Another run is still running in {scratch}; try again when it has ended.") from error
                time.sleep(0.1)
        yield file.fileno()


def fresh_run_directory(scratch: Path, log: str) -> Path:
    """Return the empty run directory of a scratch that is held; the log of this name is removed too."""
    folder = scratch.resolve() / "run"
    (scratch / log).unlink(missing_ok=True)
    remove(folder)
    folder.mkdir()
    return folder


def remove(folder: Path) -> None:
    """Remove a run directory, whatever rights were taken away in it."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    if folder.exists():
        _unlock(folder)
        shutil.rmtree(folder)


# A run may have taken its owner's rights to its directories away.
def _unlock(folder: Path) -> None:
    folder.chmod(0o700)
    for parent, folders, _ in os.walk(folder):
        for path in (Path(parent, name) for name in folders):
            if not path.is_symlink():
                path.chmod(0o700)
