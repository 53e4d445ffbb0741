"""Checkpoints (C2SP tlog-checkpoint): a signed note that commits a log to its size and root.

Making one from a database and publishing it live in `audit_log`.
"""

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

from aiinfra_core import merkle
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import note
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.signing.signer import Signer

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """What a log commits to: `root` is the RFC 6962 root (32 bytes) of its first `size` entries."""

    origin: str
    size: int
    root: bytes


def sign(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Return the checkpoint as a signed note under the log's own name; the same checkpoint and key give the same bytes.

    Raises:
        BadInput: the origin cannot name a log.
        Unavailable: the signer gave no signature that verifies.
    """
    return note.sign(text(checkpoint), checkpoint.origin, signer)


def text(checkpoint: Checkpoint) -> str:
    """Return the three lines that are signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"


def parse(data: bytes) -> Checkpoint:
    """Read what a checkpoint says without believing it.

    Raises:
        EvidenceBroken: at `note` or `checkpoint`.
    """
    return _read(note.parse(data))


def open_checkpoint(data: bytes, origin: str, keys: Iterable[PublicKey]) -> tuple[Checkpoint, PublicKey]:
    """Return what a checkpoint says, verified, and the key that signed it.

    Raises:
        EvidenceBroken: at `note`, `note signature` or `checkpoint`.
    """
    signed = note.parse(data)
    key = note.verify(signed, origin, keys)
    found = _read(signed)
    if found.origin != origin:
        raise EvidenceBroken("checkpoint", f"it is of the log {found.origin!r}, not of {origin!r}.")
    return found, key


def _read(signed: note.Note) -> Checkpoint:
    lines = signed.text.split("\n")
    if len(lines) < 4 or "" in lines[:-1] or not _SIZE.fullmatch(lines[1]):
        raise EvidenceBroken("checkpoint", "it must be an origin, a size and a root, each on its line.")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        root = b""
    if len(root) != merkle.HASH_BYTES or base64.b64encode(root).decode() != lines[2]:
        raise EvidenceBroken("checkpoint", "its root must be base64 of 32 bytes.")
    return Checkpoint(lines[0], int(lines[1]), root)
