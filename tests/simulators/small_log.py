"""A Merkle tree after the words of RFC 6962 §2.1, slow and with none of the product's code, to compare the product with."""

from collections.abc import Callable, Sequence
from hashlib import sha256


def tree_hash(entries: Sequence[bytes]) -> bytes:
    """Return the root over entries (their bytes, not their hashes)."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return sha256(b"\x01" + tree_hash(entries[:split]) + tree_hash(entries[split:])).digest()


def reader(entries: Sequence[bytes]) -> Callable[[int, int], bytes]:
    """Return `node(level, index)` over the complete subtrees of these entries, each computed once."""
    known: dict[tuple[int, int], bytes] = {}

    def node(level: int, index: int) -> bytes:
        if (level, index) not in known:
            start, end = index << level, (index + 1) << level
            assert end <= len(entries), f"the tree has no complete subtree at level {level}, index {index}"
            below = (node(level - 1, 2 * index) + node(level - 1, 2 * index + 1)) if level else entries[start]
            known[level, index] = sha256((b"\x01" if level else b"\x00") + below).digest()
        return known[level, index]

    return node
