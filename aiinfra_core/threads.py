"""Threads that work beside a block of code and are told to stop at its end. What each does, and what it logs, is in its own room."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


def _nobody() -> None:
    pass


@contextmanager
def beside(name: str, *targets: Callable[[Event], None], wake: Callable[[], None] = _nobody) -> Iterator[None]:
    """Run each target in a thread while the block runs, then set the event it was given, `wake` it, and wait until it has ended."""
    stop = Event()
    threads = [Thread(target=target, args=(stop,), name=name, daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        wake()
        for thread in threads:
            thread.join()
