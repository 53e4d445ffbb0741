"""Proofs that an entry is in a log (C2SP tlog-proof): the index, the Merkle path and the checkpoint it leads to, as one text."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiinfra_core import merkle
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.checkpoint import Checkpoint

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 64
_MAX_BYTES = 128 * 1024
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class LogProof:
    """A proof as it was read, not verified; `checkpoint` is the exact bytes of the signed note."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes


def write(proof: LogProof) -> bytes:
    """Return the proof as text."""
    lines = [HEADER, f"index {proof.index}", *hash_lines(proof.hashes)]
    return "\n".join(lines).encode() + b"\n\n" + proof.checkpoint


def parse(data: bytes) -> LogProof:
    """Read a proof; nothing is verified. Extra data is ignored, as nothing vouches for it.

    Raises:
        EvidenceBroken: at `inclusion proof`.
    """
    head, separator, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n") if separator and len(data) <= _MAX_BYTES else []
    except UnicodeDecodeError:
        lines = []
    if lines[:1] != [HEADER]:
        raise EvidenceBroken("inclusion proof", f"it must begin with {HEADER}.")
    if len(lines) > 1 and lines[1].startswith("extra "):
        read_bytes(lines.pop(1).removeprefix("extra "))
    index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    if index is None:
        raise EvidenceBroken("inclusion proof", "it must name the index of the entry.")
    return LogProof(int(index[1]), read_hashes(lines[2:]), checkpoint)


def verify(proof: LogProof, entry: bytes, checkpoint: Checkpoint) -> None:
    """Check that the proof leads from an entry's exact bytes to a checkpoint that was verified.

    Raises:
        EvidenceBroken: at `inclusion proof`.
    """
    merkle.verify_inclusion(merkle.leaf_hash(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root)


def hash_lines(hashes: Sequence[bytes]) -> list[str]:
    """Return hashes as they stand in proofs: base64, one a line."""
    return [base64.b64encode(it).decode() for it in hashes]


def read_hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    """Read hashes, base64, one a line.

    Raises:
        EvidenceBroken: at `inclusion proof`.
    """
    hashes = tuple(map(read_bytes, lines))
    if len(hashes) > MAX_HASHES or any(len(it) != merkle.HASH_BYTES for it in hashes):
        raise EvidenceBroken("inclusion proof", f"it must have at most {MAX_HASHES} hashes of {merkle.HASH_BYTES} bytes.")
    return hashes


def read_bytes(text: str) -> bytes:
    """Read base64 in its one spelling.

    Raises:
        EvidenceBroken: at `inclusion proof`.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        raise EvidenceBroken("inclusion proof", "its hashes must be standard base64.")
    return data
