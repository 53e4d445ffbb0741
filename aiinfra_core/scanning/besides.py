"""What else a file is besides what it begins as: a zip is read from its end, and an HDF5 file may begin behind something else."""

from collections.abc import Iterator
from typing import IO

TAIL_BYTES = 22 + 2**16
"""How far before its end a file may have the record by which a zip is found."""
HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP_END = b"PK\x05\x06"


class Besides:
    """Called with each block of one file in turn; keeps its end and the places where an HDF5 file may begin."""

    def __init__(self) -> None:
        self._tail, self._size = b"", 0
        self._begun: dict[int, bytes] = {}

    def __call__(self, block: memoryview) -> None:
        """Take in the next block."""
        start, end = self._size, self._size + len(block)
        for place in _places(end):
            if place + len(HDF5) > start:
                self._begun[place] = self._begun.get(place, b"") + block[max(place - start, 0) : place + len(HDF5) - start]
        self._tail = bytes(block[-TAIL_BYTES:]) if len(block) >= TAIL_BYTES else (self._tail + block)[-TAIL_BYTES:]
        self._size = end

    def found(self) -> frozenset[str]:
        """Return what the file is besides: `zip`, `hdf5`."""
        return _found(self._tail, set(self._begun.values()))


def besides(stream: IO[bytes], size: int) -> frozenset[str]:
    """Return the same of a stream that can be read from any place."""
    begun = set[bytes]()
    for place in _places(size):
        stream.seek(place)
        begun.add(stream.read(len(HDF5)))
    stream.seek(max(0, size - TAIL_BYTES))
    return _found(stream.read(TAIL_BYTES), begun)


def said(others: frozenset[str]) -> str:
    """Return in words that a file is something else, too."""
    return f"a reader of {' or '.join(sorted(others))} finds something else in it"


def _places(end: int) -> Iterator[int]:
    place = 512
    while place < end:
        yield place
        place *= 2


def _found(tail: bytes, begun: set[bytes]) -> frozenset[str]:
    return frozenset(name for name, there in (("zip", _ZIP_END in tail), ("hdf5", HDF5 in begun)) if there)
