"""Deliver again what a sink was given before: a stretch of the log, or only its dead letters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from aiinfra_core.audit_log.delivering import progress
from aiinfra_core.audit_log.delivering.delivery import PAGE, taker
from aiinfra_core.audit_log.delivering.sinks import Row, Sink
from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.settings import Settings


@dataclass
class Replay:
    """What was delivered again, and what the sink still refused; `last` is the last event that was tried."""

    delivered: int = 0
    refused: int = 0
    last: int = 0


def replay(settings: Settings, sink: Sink, *, first: int = 1, last: int | None = None, dead: bool = False) -> Replay:
    """Deliver a sink the events from `first` to `last` again that it was given before; what it takes is no dead letter any more.

    Args:
        settings: as for `deliver`.
        sink: which one.
        first: from this event on.
        last: up to this one; None means as far as the sink was delivered to.
        dead: only the events that were set aside.

    Raises:
        BadInput: the stretch is none.
        Unavailable: the sink does not take an event now, or another process delivers to it; what was taken before is recorded.
    """
    if first < 1 or (last is not None and last < first):
        raise BadInput("A stretch of the log goes from an event, 1 or later, to a later one.")
    with progress.held(settings, sink) as connection:
        if connection is None:
            raise Unavailable("audit_sink", f"Another process is delivering to {sink.name} now; try again when it is done.")
        end = progress.state(connection, sink).delivered
        return _replay(settings, connection, sink, first, end if last is None else min(last, end), dead)


def _replay(settings: Settings, connection: Connection, sink: Sink, first: int, last: int, dead: bool) -> Replay:
    take, done = taker(settings, connection, sink), Replay(last=first - 1)
    pages: Callable[[int], Sequence[Row]] = (
        (lambda seq: progress.dead(connection, sink, seq, PAGE)) if dead else (lambda seq: progress.after(connection, seq, PAGE))
    )
    while rows := [row for row in pages(done.last) if row["seq"] <= last]:
        for row, refusal in zip(rows, take(rows), strict=False):
            _record(connection, sink, row, refusal, done)
    return done


def _record(connection: Connection, sink: Sink, row: Row, refusal: str | None, done: Replay) -> None:
    if refusal is None:
        progress.taken(connection, sink, row["seq"])
        done.delivered += 1
    else:
        progress.set_aside(connection, sink, row["seq"], refusal)
        done.refused += 1
    done.last = row["seq"]
