"""Deliver the log to its sinks: every event at least once, in order, each sink on its own.

Progress is recorded after delivery, so a deliverer killed anywhere delivers some events again and loses none. What a sink refuses for good
is set aside as a dead letter, and the events after it go on; a sink that is down waits, longer each time, and only itself. An event that
failed `MOST_ATTEMPTS` times is set aside only once the sink takes the one after it: else it is the sink that is down.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Event

from sqlalchemy import Connection

from aiinfra_core.audit_log.delivering import archive, cloud_events, progress, router, sinks, values, webhook
from aiinfra_core.audit_log.delivering.sinks import Row, Sink, Take
from aiinfra_core.errors import Unavailable
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)

PAGE = 256
MOST_ATTEMPTS = 8
_RECORD_SECONDS = 1.0


@dataclass
class Delivery:
    """What one call did for one sink.

    `problem` says why it did not reach the end of the log, if it did not; with `paused` that is what went wrong before, and nothing was
    tried because the time of the next try has not come. `busy` when another process is delivering to it.
    """

    sink: Sink
    delivered: int = 0
    set_aside: int = 0
    problem: str | None = None
    paused: bool = False
    busy: bool = False


def deliver(settings: Settings, *, at_once: bool = False, seconds: float | None = None) -> list[Delivery]:
    """Deliver what every configured sink has not been given yet, all sinks at the same time, until the end of the log.

    Args:
        settings: name the sinks.
        at_once: do not wait for the time of a failing sink's next try.
        seconds: begin no further event after so long; the next call continues.

    Raises:
        Misconfigured: a sink's address is wrong.
        Unavailable: the database cannot be reached. That a sink cannot be is in what is returned.
    """
    places = sinks.configured(settings)
    if not places:
        return []
    stopped, end = Event(), None if seconds is None else time.monotonic() + seconds
    going = lambda: not stopped.is_set() and (end is None or time.monotonic() < end)  # noqa: E731
    with ThreadPoolExecutor(len(places), thread_name_prefix="sink") as pool:
        try:
            return list(pool.map(partial(_deliver, settings, going, at_once), places))
        except BaseException:
            stopped.set()
            raise


def taker(settings: Settings, connection: Connection, sink: Sink) -> Take:
    """Return what gives events to a sink."""
    if sink.listens == "people":
        return webhook.to(settings, sink)
    if sink.listens == "router":
        return router.to(settings, connection, sink)
    if sink.archive is None:
        return cloud_events.to(settings, sink)
    return archive.to(sink.archive, partial(values.read, connection))


def _deliver(settings: Settings, going: Callable[[], bool], at_once: bool, sink: Sink) -> Delivery:
    done = Delivery(sink)
    with progress.held(settings, sink) as connection:
        if connection is None:
            done.busy = True
            return done
        state = progress.state(connection, sink)
        if state.paused and not at_once:
            done.problem, done.paused = state.last_error, True
            return done
        take, seq = taker(settings, connection, sink), state.delivered
        while done.problem is None and going() and (rows := progress.after(connection, seq, PAGE)):
            seq = _give(connection, take, rows, seq, going, done)
    return done


def _give(connection: Connection, take: Take, rows: Sequence[Row], seq: int, going: Callable[[], bool], done: Delivery) -> int:
    """Give events to a sink and record how far it is; return the last one it is done with."""
    recorded, before = time.monotonic(), seq
    try:
        for row, refusal in zip(rows, take(rows), strict=False):
            _count(connection, row, refusal, done)
            seq = row["seq"]
            if time.monotonic() - recorded > _RECORD_SECONDS:
                progress.moved(connection, done.sink, seq)
                recorded = time.monotonic()
            if not going():
                break
    except Unavailable as error:
        if seq > before:
            progress.moved(connection, done.sink, seq)
        return _failed(connection, take, seq, str(error), done)
    progress.moved(connection, done.sink, seq)
    return seq


def _count(connection: Connection, row: Row, refusal: str | None, done: Delivery) -> None:
    if refusal is None:
        done.delivered += 1
        return
    done.set_aside += 1
    progress.set_aside(connection, done.sink, row["seq"], refusal)
    logger.warning("Audit event %d was set aside for %s: %s", row["seq"], done.sink.name, refusal)


def _failed(connection: Connection, take: Take, seq: int, error: str, done: Delivery) -> int:
    failures = progress.failed(connection, done.sink, error)
    if failures >= MOST_ATTEMPTS and (passed := _pass_by(connection, take, seq, error, failures, done)):
        return passed
    logger.warning("The audit log waits at event %d for %s: %s", seq + 1, done.sink.name, error)
    done.problem = error
    return seq


def _pass_by(connection: Connection, take: Take, seq: int, error: str, failures: int, done: Delivery) -> int | None:
    """Set the next event aside if the sink takes the one after it; return that one's seq."""
    rows = progress.after(connection, seq, 2)
    if len(rows) < 2:
        return None
    try:
        (refusal,) = take(rows[1:])
    except Unavailable:
        return None
    progress.set_aside(connection, done.sink, rows[0]["seq"], error, failures)
    done.set_aside += 1
    _count(connection, rows[1], refusal, done)
    seq = rows[1]["seq"]
    progress.moved(connection, done.sink, seq)
    return seq
