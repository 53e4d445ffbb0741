"""Tells what each file of an artifact is while the artifact is read and hashed anyway."""

from pathlib import PurePosixPath

from aiinfra_core.scanning.besides import Besides
from aiinfra_core.scanning.formats import Format, kept, told


class Heads:
    """Called with each block of each file in turn, as `artifact_store` reads them; an empty file has none."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._formats: dict[str, Format] = {}
        self._name: str | None = None
        self._head, self._size, self._most, self._besides = b"", 0, 0, Besides()

    def __call__(self, name: str, block: memoryview) -> None:
        """Take in the next block of a file; its name is empty where the artifact is that one file."""
        if name != self._name:
            self._end_file()
            self._name, self._head, self._size, self._besides = name, b"", 0, Besides()
        if not self._head:
            self._most = kept(bytes(block[:4096]))
        if len(self._head) < self._most:
            self._head += block[: self._most - len(self._head)]
        self._besides(block)
        self._size += len(block)

    def formats(self) -> dict[str, Format]:
        """Return what each file is, once all of them were read."""
        self._end_file()
        return self._formats

    def _end_file(self) -> None:
        if self._name is not None:
            name = self._name or PurePosixPath(self._uri).name
            self._formats[self._name] = told(self._head, self._size, name, others=self._besides.found())
            self._name = None
