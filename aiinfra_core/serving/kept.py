"""The last routing that was accepted, in a file, so that a process that starts while the service is away has something to believe."""

import base64
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput, EvidenceBroken, Unavailable


@dataclass(frozen=True)
class Kept:
    """A bundle as it was accepted, when, and the (sequence, changes) that nothing accepted later may be older than."""

    bundle: bytes
    accepted_at: datetime
    seen: tuple[int, int]


def load(path: Path) -> Kept | None:
    """Return what was kept, or None; its signatures are not checked.

    Raises:
        EvidenceBroken: at `kept routing`; the file is none of ours.
    """
    try:
        read = canonical_json.loads(path.read_bytes(), what="It")
        sequence, changes = read["seen"]
        return Kept(base64.b64decode(read["bundle"]), datetime.fromisoformat(read["acceptedAt"]), (int(sequence), int(changes)))
    except FileNotFoundError:
        return None
    except (OSError, BadInput, ValueError, TypeError, KeyError):
        raise EvidenceBroken("kept routing", f"{path} cannot be read; remove it to start from what the service says.") from None


def save(path: Path, kept: Kept) -> None:
    """Keep what was accepted, whole or not at all.

    Raises:
        Unavailable: the disk cannot be written to.
    """
    value = {"bundle": base64.b64encode(kept.bundle).decode(), "acceptedAt": kept.accepted_at.isoformat(), "seen": list(kept.seen)}
    write(path, canonical_json.dumps(value))


def write(path: Path, data: bytes) -> None:
    """Put bytes into a file in one step, on disk when it returns.

    Raises:
        Unavailable: the disk cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, new = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
        _fill(number, Path(new), data, path)
    except OSError as error:
        raise Unavailable("artifact_store", f"{path} cannot be written ({error.strerror}); free some space.") from error


def _fill(number: int, new: Path, data: bytes, path: Path) -> None:
    try:
        with open(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)  # a full disk is not filled further at each try
        raise
