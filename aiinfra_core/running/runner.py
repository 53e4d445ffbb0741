"""The runner: as many jobs at a time as it may, each claimed under a lease, until it is told to stop.

Any number of runners may work on one database. Killed, it loses nothing: its leases end, and the next one takes its jobs up.
"""

import logging
import os
import re
import socket
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Protocol
from uuid import UUID

from aiinfra_core import database, jobs
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.errors import AiInfraError, Misconfigured
from aiinfra_core.registry import leases
from aiinfra_core.registry.leases import Claimed
from aiinfra_core.running import handing_over
from aiinfra_core.running.work import give_back, tidy, work
from aiinfra_core.settings import Settings
from aiinfra_core.training import unreadable
from aiinfra_core.training.process import GRACE_SECONDS

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
TIDY_SECONDS = 1.0
RECONCILE_SECONDS = 5.0
_AFTER_TROUBLE_SECONDS = 2.0
_LAST_WORDS_SECONDS = GRACE_SECONDS + 2.0


class Stop(Protocol):
    """An event of a thread or of another process."""

    def is_set(self) -> bool:
        """Tell whether it happened."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it happens, or for so many seconds; tell whether it did."""


def run(settings: Settings, stop: Stop) -> None:
    """Run jobs until `stop` is set, then end the trainings that can be ended in `drain_seconds` and give the others back.

    With a Prefect deployment configured it runs none itself, but sees that each one is run there.
    """
    unreadable.keep_unreadable()
    _Runner(settings, stop).run()


def name() -> str:
    """Return the name under which this process runs jobs."""
    host = re.sub(r"[^\x21-\x7e]", "-", socket.gethostname())[:200]
    return f"runner@{host}:{os.getpid()}"


class _Runner:
    def __init__(self, settings: Settings, stop: Stop) -> None:
        self._settings, self._stop, self._name = settings, stop, name()
        self._stop_now = Event()
        self._held: dict[UUID, Claimed] = {}
        self._turn = Lock()

    def run(self) -> None:
        settings = self._settings
        at_once = 0 if settings.prefect_deployment else settings.runner_concurrency
        workers = [Thread(target=self._work, name=f"runner {number}", daemon=True) for number in range(at_once)]
        for worker in workers:
            worker.start()
        logger.info("%s runs up to %d jobs at a time.", self._name, at_once)
        self._look_after()
        self._drain(workers)

    def _look_after(self) -> None:
        looked = -RECONCILE_SECONDS
        while not self._stop.is_set():
            _in_spite_of_trouble(lambda: tidy(self._settings))
            if time.monotonic() - looked >= RECONCILE_SECONDS:
                looked = time.monotonic()
                _in_spite_of_trouble(lambda: handing_over.reconcile(self._settings))
                _in_spite_of_trouble(lambda: keep_up(self._settings))
            self._stop.wait(TIDY_SECONDS)

    def _work(self) -> None:
        while not self._stop.is_set():
            claimed: list[Claimed] = []
            if not _in_spite_of_trouble(lambda: claimed.extend(self._claimed())):  # noqa: B023 - called at once
                self._stop.wait(_AFTER_TROUBLE_SECONDS)
            elif not claimed:
                self._stop.wait(POLL_SECONDS)
            for one in claimed:
                _in_spite_of_trouble(lambda: work(self._settings, one, by=self._name, stop_now=self._stop_now))  # noqa: B023
                with self._turn:
                    self._held.pop(one.job.id, None)

    def _claimed(self) -> list[Claimed]:
        with database.transaction(self._settings) as tx:
            found = leases.claim(tx, holder=self._name, seconds=self._settings.lease_seconds, at=jobs.now())
        if found is None:
            return []
        with self._turn:
            self._held[found.job.id] = found
        return [found]

    def _drain(self, workers: list[Thread]) -> None:
        _join(workers, self._settings.drain_seconds)
        self._stop_now.set()
        _join(workers, _LAST_WORDS_SECONDS)
        with self._turn:
            left = list(self._held.values())
        for one in left:  # its thread does not come back in time; whatever it still does, the lease is no longer its
            give_back(self._settings, one.job.id, one.token, by=self._name)


def _join(workers: list[Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))


def _in_spite_of_trouble(call: Callable[[], None]) -> bool:
    try:
        call()
    except Misconfigured as error:
        logger.error("The runner cannot go on as it is configured: %s", error)  # noqa: TRY400 - the message says it all
    except AiInfraError as error:
        logger.warning("The runner waits: %s", error)
    except Exception:
        logger.exception("Something unexpected happened in the runner.")
    else:
        return True
    return False
