"""The process that judges rules and may be killed at any moment: told what to judge on standard input, it answers on standard output.

    python -I -S worker.py FOLDER...

The folders are where this package and the CEL extension are. Before it reads anything it gives up what it does not need: files, network,
other processes, memory beyond a limit. Uses the standard library and `expressions` only. Starting and killing it is `sandbox`'s.

A message is four bytes of length and JSON: {"expressions": [...], "inputs": {...}, "seconds": N} in, [[verdict, cause], ...] out.
On standard error stands one byte, BEGUN, for each expression that was begun.
"""

import json
import os
import signal
import sys
from typing import NoReturn

MEMORY_BYTES = 512 * 1024 * 1024
GRACE_SECONDS = 1.0
LENGTH_BYTES = 4
_CHUNK = 1 << 16
BEGUN = b"\x01"
_WARM_UP = (
    'timestamp("2026-01-01T00:00:00Z") + duration("1h")',
    '"a".matches("a+")',
    "warm.up.map(x, x)",
    "{'a': b'a'}",
    "warm.down",
    "1 / 0",
)


def main(folders: list[str]) -> None:
    """Give up everything, then answer until standard input ends."""
    sys.path.extend(folders)
    from aiinfra_core.rules import confinement, expressions  # found in the folders that were named

    expressions.judge(_WARM_UP, {"warm": {"up": [1, 1.5, "1", None, True]}})  # loads what it needs while files can still be opened
    confinement.confine(MEMORY_BYTES)
    for to_all in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(to_all, signal.SIG_IGN)  # whoever started this may still have something to finish; it ends with them
    os.write(1, b"+")
    while message := _read_message():
        asked = json.loads(message)
        # Whoever started this kills it earlier; should they be gone, the kernel does.
        signal.setitimer(signal.ITIMER_REAL, asked["seconds"] + GRACE_SECONDS)
        told = json.dumps(expressions.judge(asked["expressions"], asked["inputs"], _begins)).encode()
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(len(told).to_bytes(LENGTH_BYTES, "big") + told)


def _begins() -> None:
    os.write(2, BEGUN)


def _read_message() -> bytes:
    message = os.read(0, _CHUNK)
    size = LENGTH_BYTES + int.from_bytes(message[:LENGTH_BYTES], "big")
    while 0 < len(message) < size:
        message += os.read(0, size - len(message)) or _end()
    return message[LENGTH_BYTES:]


def _end() -> NoReturn:
    sys.exit()  # whoever asked is gone


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main(sys.argv[1:])
