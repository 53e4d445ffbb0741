"""The file that proves a log continues an earlier checkpoint: the old size, the old root (base64), then the hashes, each on its line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aiinfra_core import merkle
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import log_proof
from aiinfra_core.evidence.checkpoint import Checkpoint

_SIZE = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class ConsistencyProof:
    """A proof as it was read, not verified; `root` is claimed to be that of the first `size` entries."""

    size: int
    root: bytes
    hashes: tuple[bytes, ...]


def write(old: Checkpoint, hashes: Sequence[bytes]) -> bytes:
    """Return a proof as text."""
    return "".join(f"{line}\n" for line in (old.size, *log_proof.hash_lines([old.root, *hashes]))).encode()


def parse(data: bytes) -> ConsistencyProof:
    """Read a proof; nothing is verified.

    Raises:
        EvidenceBroken: at `consistency` or `inclusion proof`.
    """
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError:
        lines = []
    if len(lines) < 3 or not _SIZE.fullmatch(lines[0]) or lines[-1] != "":
        raise EvidenceBroken("consistency", "it must be the old size, the old root and hashes, each on its line.")
    root, *hashes = log_proof.read_hashes(lines[1:-1])
    return ConsistencyProof(int(lines[0]), root, tuple(hashes))


def verify(proof: ConsistencyProof, head: Checkpoint) -> None:
    """Check that the log of a checkpoint that was verified begins with the entries the proof is about.

    Raises:
        EvidenceBroken: at `consistency`.
    """
    merkle.verify_consistency(proof.size, proof.root, head.size, head.root, proof.hashes)
