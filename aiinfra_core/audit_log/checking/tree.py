"""The Merkle tree as it follows from the events, grown beside the stored one: its tiles as they become full, its root at any size. Pure.

What is stored, and whether it is the same, lives in `tiles` and `check`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from aiinfra_core.merkle import HASH_BYTES, Frontier

TILE_HASHES = 256
_TILE_BYTES = TILE_HASHES * HASH_BYTES


class Tile(NamedTuple):
    """Hashes of up to 256 complete subtrees of 256^level leaves, one after the other."""

    level: int
    number: int
    hashes: bytes


@dataclass
class _Level:
    """The hashes of a level that fill no tile yet, after `full` tiles."""

    full: int = 0
    hashes: bytes = b""
    frontier: Frontier = field(default_factory=Frontier)

    def add(self, hashes: bytes) -> None:
        self.hashes += hashes
        self.frontier = self.frontier.extended(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))


@dataclass
class Tree:
    """A tree that only keeps its right edge."""

    levels: list[_Level] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return self.levels[0].full * TILE_HASHES + len(self.levels[0].hashes) // HASH_BYTES if self.levels else 0

    @property
    def root(self) -> bytes:
        """The root over every leaf."""
        return Frontier(self.size, tuple(peak for level in reversed(self.levels) for peak in level.frontier.peaks)).root

    def extend(self, leaves: bytes) -> list[Tile]:
        """Append leaf hashes, written one after the other, and return the tiles that became full."""
        full: list[Tile] = []
        while leaves:
            room = _TILE_BYTES - (len(self.levels[0].hashes) if self.levels else 0)
            self._add(0, leaves[:room], full)
            leaves = leaves[room:]
        return full

    def ends_with(self, leaf: bytes) -> bool:
        """Return whether this is its last leaf, as far as it still knows it."""
        return not (self.levels and self.levels[0].hashes) or self.levels[0].hashes.endswith(leaf)

    def unfilled(self) -> Iterator[Tile]:
        """Yield the last tile of each level, where it is not full."""
        for number, level in enumerate(self.levels):
            if level.hashes:
                yield Tile(number, level.full, level.hashes)

    def written(self) -> list[tuple[int, str]]:
        """Return it as JSON values."""
        return [(level.full, level.hashes.hex()) for level in self.levels]

    @classmethod
    def read(cls, written: Iterable[tuple[int, str]]) -> "Tree":
        """Return what `written` was made from."""
        tree = cls()
        for full, hashes in written:
            tree.levels.append(_Level(full))
            tree.levels[-1].add(bytes.fromhex(hashes))
        return tree

    def _add(self, number: int, hashes: bytes, full: list[Tile]) -> None:
        if number == len(self.levels):
            self.levels.append(_Level())
        level = self.levels[number]
        level.add(hashes)
        if len(level.hashes) == _TILE_BYTES:
            full.append(Tile(number, level.full, level.hashes))
            root = level.frontier.root
            self.levels[number] = _Level(level.full + 1)
            self._add(number + 1, root, full)


def in_level(size: int, level: int) -> int:
    """Return how many hashes a stored tree of this size has at a level."""
    return size >> (8 * level)


def tiles_of(size: int) -> int:
    """Return how many tiles a stored tree of this size has."""
    count, level = 0, 0
    while hashes := in_level(size, level):
        count, level = count + -(-hashes // TILE_HASHES), level + 1
    return count
