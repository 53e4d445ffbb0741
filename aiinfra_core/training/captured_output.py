"""What a training prints: kept in a log file up to a limit, and handed on line by line while it runs.

Starting and stopping the training is in `process`.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

MAX_LOG_BYTES = 10 * 1024 * 1024
MAX_LINE_BYTES = 8 * 1024
MAX_LAST_LINE = 300


class CapturedOutput:
    """Takes bytes as they come; `last_line` is the last line that was not empty, made printable."""

    def __init__(self, log: Path, on_line: Callable[[str], None]) -> None:
        self.last_line = ""
        self._file = log.open("wb")
        self._on_line = on_line
        self._kept = 0
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def take(self, data: bytes) -> None:
        """Keep some output and hand on the lines that are now whole; after `MAX_LOG_BYTES` only `last_line` follows."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line + b"\n")
        while len(self._rest) > MAX_LINE_BYTES:
            piece, self._rest = self._rest[:MAX_LINE_BYTES], self._rest[MAX_LINE_BYTES:]
            self._line(piece)

    def finish(self) -> None:
        """Hand on a last line that no newline ended."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""

    def _line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r\n")
        if text.strip():
            self.last_line = "".join(letter if letter.isprintable() else " " for letter in text.strip())[:MAX_LAST_LINE]
        if self._kept > MAX_LOG_BYTES:
            return
        self._kept += len(line)
        if self._kept > MAX_LOG_BYTES:
            line, text = b"[the log is cut here: the training printed too much]\n", "[the rest of the output is not kept]"
        self._file.write(line)
        self._on_line(text)
