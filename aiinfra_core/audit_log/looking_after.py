"""The loop of a process that lives for long: chain what waits, publish checkpoints, deliver to sinks, and try again what failed.

`aiinfra audit run` is this loop, the service has it in threads. Chaining has a thread of its own, so that a slow place or sink does not
hold it up; between processes the advisory locks of each part let one at a time do it. When a write rings is decided in `keeping_up`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from threading import Event

from aiinfra_core import threads
from aiinfra_core.audit_log.delivering import delivery
from aiinfra_core.audit_log.keeping_up import checkpoint_quietly
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.errors import AiInfraError, Unavailable
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""Events that other processes wrote are seen so late."""
GATHER_SECONDS = 0.1
"""Events that come within this time of each other are chained as one batch."""
MOST_SINCE = 250
LONGEST_WAIT_SECONDS = 1.0
_DELIVERY_SECONDS = 5.0


class Bell:
    """What a write rings to have its event chained.

    Whoever rings while more than `MOST_SINCE` others rang since the last batch was read waits for that batch, a moment at most: nobody
    writes faster than is chained.
    """

    def __init__(self) -> None:
        self._rung, self._idle, self._since = Event(), Event(), 0

    def ring(self) -> None:
        """Ask for the next batch."""
        self._since += 1
        self._rung.set()
        if self._since > MOST_SINCE:
            self._idle.wait(LONGEST_WAIT_SECONDS)

    def heard(self) -> None:
        """Wait until somebody rings or it is time to look."""
        self._idle.set()
        self._rung.wait(POLL_SECONDS)
        self._rung.clear()
        self._idle.clear()
        self._since = 0


def until(settings: Settings, stop: Event) -> None:
    """Keep the log chained, published and delivered until told to stop; what cannot be reached is logged and tried again.

    Raises:
        EvidenceBroken, Misconfigured: as `sequence_pending` and `checkpoints.checkpoint`.
    """
    with ThreadPoolExecutor(2, thread_name_prefix="audit-log") as pool:
        try:
            for ended in as_completed([pool.submit(loop, stop) for loop in _loops(settings, Bell())]):
                ended.result()
        finally:
            stop.set()


@contextmanager
def in_threads(settings: Settings) -> Iterator[Callable[[], None]]:
    """Do as `until` in two threads while the block runs, logging every error; give what rings for them."""
    bell = Bell()
    with threads.beside("audit-log", *(partial(_for_ever, loop) for loop in _loops(settings, bell)), wake=bell.ring):
        yield bell.ring


def _loops(settings: Settings, bell: Bell) -> tuple[Callable[[Event], None], ...]:
    return partial(_keep_chained, settings, bell), partial(_keep_published, settings)


def _for_ever(loop: Callable[[Event], None], stop: Event) -> None:
    said = ""
    while not stop.is_set():
        try:
            loop(stop)
        except AiInfraError as error:
            if str(error) != said:
                logger.error("The audit log cannot be looked after: %s", error)  # noqa: TRY400 - the message says it all
            said = str(error)
        except Exception:
            logger.exception("Something unexpected happened while the audit log was looked after")
        stop.wait(POLL_SECONDS)


def _keep_chained(settings: Settings, bell: Bell, stop: Event) -> None:
    said = ""
    while not stop.is_set():
        try:
            sequence_pending(settings, audit_signer(settings), wait=False)
            said = ""
        except Unavailable as error:
            if str(error) != said:
                logger.warning("Audit events wait in the outbox: %s", error)
            said = str(error)
        stop.wait(GATHER_SECONDS)
        bell.heard()


def _keep_published(settings: Settings, stop: Event) -> None:
    due, problems = time.monotonic(), dict[str, str | None]()
    while not stop.is_set():
        if time.monotonic() >= due:
            due = time.monotonic() + settings.checkpoint_seconds
            checkpoint_quietly(settings, wait=False)
        _deliver(settings, problems)
        stop.wait(POLL_SECONDS)


def _deliver(settings: Settings, problems: dict[str, str | None]) -> None:
    """Deliver for a while, telling each problem once."""
    try:
        for done in delivery.deliver(settings, seconds=_DELIVERY_SECONDS):
            if done.problem and done.problem != problems.get(done.sink.id):
                logger.warning("The log is not delivered to %s: %s", done.sink.name, done.problem)
            problems[done.sink.id] = done.problem
    except Unavailable as error:
        logger.warning("The log is not delivered: %s", error)
