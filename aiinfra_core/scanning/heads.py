"""Tells what each file of an artifact is from its first bytes, while the artifact is read and hashed anyway."""

from pathlib import PurePosixPath

from aiinfra_core.scanning.formats import HEAD_BYTES, Format, told


class Heads:
    """Called with each block of each file in turn, as `artifact_store` reads them; an empty file has none."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._formats: dict[str, Format] = {}
        self._name: str | None = None
        self._head, self._size = bytearray(), 0

    def __call__(self, name: str, block: memoryview) -> None:
        """Take in the next block of a file; its name is empty where the artifact is that one file."""
        if name != self._name:
            self._end_file()
            self._name, self._head, self._size = name, bytearray(), 0
        self._head += block[: HEAD_BYTES - len(self._head)]
        self._size += len(block)

    def formats(self) -> dict[str, Format]:
        """Return what each file is, once all of them were read."""
        self._end_file()
        return self._formats

    def _end_file(self) -> None:
        if self._name is not None:
            name = self._name or PurePosixPath(self._uri).name
            self._formats[self._name] = told(bytes(self._head), self._size, name)
            self._name = None
