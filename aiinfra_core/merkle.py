"""Merkle trees of RFC 6962 over SHA-256: roots, inclusion and consistency proofs, made and verified. Pure.

A tree is read through `node(level, index)`, which returns the hash of the complete subtree over the leaves
[index·2^level, (index+1)·2^level); so a proof in a large stored tree reads a few nodes and computes no more. Where nodes are stored
does not live here.
"""

import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from aiinfra_core.errors import BadInput, EvidenceBroken

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

Node = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an interior node: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Frontier:
    """A tree reduced to what appending needs: its size and the roots of its complete subtrees, largest first."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def extended(self, leaves: Iterable[bytes]) -> "Frontier":
        """Return the tree with these leaf hashes appended."""
        size, peaks = self.size, list(self.peaks)
        for leaf in leaves:
            carried, behind = leaf, size
            while behind & 1:
                carried, behind = node_hash(peaks.pop(), carried), behind >> 1
            peaks.append(carried)
            size += 1
        return Frontier(size, tuple(peaks))

    @property
    def root(self) -> bytes:
        """The root over every leaf so far."""
        return _folded(self.peaks) if self.peaks else EMPTY_ROOT


def root(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    return Frontier().extended(leaves).root


def root_at(size: int, node: Node) -> bytes:
    """Return the root of the first `size` leaves of a stored tree."""
    return _subtree(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """Return the audit path of a leaf in the tree of the first `size` leaves, from the leaf's sibling up (RFC 6962 §2.1.1).

    Raises:
        BadInput: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise BadInput(f"A log of {size} entries has none at index {index}.")
    path, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """Return the proof that the first `old` leaves are the beginning of the first `new` ones (RFC 6962 §2.1.2).

    Raises:
        BadInput: the sizes are not 0 < old <= new.
    """
    if not 0 < old <= new:
        raise BadInput(f"There is no consistency proof from size {old} to {new}.")
    path, start, end, whole = [], 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start, whole = middle, False
    return ([] if whole else [_subtree(start, end, node)]) + path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """Check that a leaf hash stands at `index` of the tree with this size and root (RFC 9162 §2.1.3.2).

    Raises:
        EvidenceBroken: at `inclusion proof`.
    """
    if not 0 <= index < size:
        raise EvidenceBroken("inclusion proof", f"index {index} is outside a log of {size} entries.")
    position, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise EvidenceBroken("inclusion proof", "it is too long.")
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    if last or not hmac.compare_digest(found, expected_root):
        raise EvidenceBroken("inclusion proof", f"it does not lead from entry {index} to the root of the checkpoint.")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of size `new` begins with the tree of size `old` (RFC 9162 §2.1.4.2).

    Raises:
        EvidenceBroken: at `consistency`.
    """
    if not 0 <= old <= new:
        raise EvidenceBroken("consistency", f"a log of {new} entries cannot continue one of {old}.")
    if old in (0, new):
        expected = EMPTY_ROOT if old == 0 else new_root
        if proof or not hmac.compare_digest(old_root, expected):
            raise EvidenceBroken("consistency", f"two roots are claimed for the same {old} entries, or the proof is not empty.")
        return
    seen_old, seen_new = _both_roots(old, new, [old_root, *proof] if old & (old - 1) == 0 else list(proof))
    if not (hmac.compare_digest(seen_old, old_root) and hmac.compare_digest(seen_new, new_root)):
        raise EvidenceBroken("consistency", f"the log of {new} entries does not begin with the {old} entries seen before.")


def _both_roots(old: int, new: int, path: list[bytes]) -> tuple[bytes, bytes]:
    if not path:
        raise EvidenceBroken("consistency", "the proof is empty.")
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    seen_old = seen_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise EvidenceBroken("consistency", "the proof is too long.")
        if position & 1 or position == last:
            seen_old, seen_new = node_hash(sibling, seen_old), node_hash(sibling, seen_new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            seen_new = node_hash(seen_new, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise EvidenceBroken("consistency", "the proof is too short.")
    return seen_old, seen_new


def _subtree(start: int, end: int, node: Node) -> bytes:
    """Return the root over [start, end), which begins at a multiple of the largest power of two that fits into it."""
    parts = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append(node(level, start >> level))
        start += 1 << level
    return _folded(parts)


def _folded(parts: Sequence[bytes]) -> bytes:
    found = parts[-1]
    for part in parts[-2::-1]:
        found = node_hash(part, found)
    return found


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)
