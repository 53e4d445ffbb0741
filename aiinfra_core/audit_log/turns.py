"""One thread of a process sequences, one waits, the others go; between processes two advisory locks do the same (`sequence`).

Whoever goes has committed before it came and leaves somebody in line who has not read yet: that one takes its events along.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock

MOST_GONE = 100
"""After so many the next one waits all the same, so that a process does not write faster than it sequences."""


class _Line:
    def __init__(self) -> None:
        self.turn, self.next, self.gone = Lock(), Lock(), 0


@contextmanager
def turn_in_process(database_url: str) -> Iterator[bool]:
    """Give True when it is this thread's turn, after waiting at most behind one; False when another in line will see to it."""
    line = _line(database_url, os.getpid())
    if not line.turn.acquire(blocking=False):
        first = line.next.acquire(blocking=False)
        if not first and line.gone < MOST_GONE:
            line.gone += 1
            yield False
            return
        try:
            line.turn.acquire()
        finally:  # also of a thread that is stopped while it waits: nobody stands in line for it
            if first:
                line.next.release()
    try:
        line.gone = 0
        yield True
    finally:
        line.turn.release()


# Of each process its own: a fork may happen while a thread it does not take along holds a lock.
@lru_cache(maxsize=64)
def _line(_database_url: str, _process: int) -> _Line:
    return _Line()
