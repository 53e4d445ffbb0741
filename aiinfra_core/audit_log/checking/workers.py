"""Processes that walk the log and compare rows at the same time, all reading the one snapshot of who asked; and their end of the work.

Each is started by itself (no fork), so nothing of the asking process is in it; it ends when its pipe is closed, also by a kill.
"""

import gc
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection as Channel
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from aiinfra_core.audit_log.checking.state_rows import Connection, compare_part
from aiinfra_core.audit_log.checking.stretches import Stretch, walk_stretch
from aiinfra_core.audit_log.checking.verified import Verified
from aiinfra_core.audit_log.checking.walk import Problem, audit_keys
from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import AiInfraError, Unavailable
from aiinfra_core.tables import STATE_TABLES

_AHEAD = 2
_MAIN = f"import sys; from {__name__} import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Setting:
    """What a process needs to know: where to read as whom, in whose snapshot, whom to trust, and where what events told is."""

    url: str = field(repr=False)
    role: str
    snapshot: str
    trust: str
    verified: Path


@dataclass(frozen=True)
class Walk:
    """Walk the events with `after` < seq <= `to`."""

    after: int
    to: int


@dataclass(frozen=True)
class Compare:
    """Compare the rows in these blocks of a state table."""

    table: str
    part: tuple[int, int | None]


Work = Walk | Compare


def carry_out(work: Work, connection: Connection, verified: Verified, trust: Trust) -> Stretch | list[Problem]:
    """Do one piece of work."""
    if isinstance(work, Walk):
        return walk_stretch(connection, audit_keys(trust), work.after, work.to)
    table = next(table for table in STATE_TABLES if table.name == work.table)
    return compare_part(connection, verified, trust, table, work.part)


class Workers:
    """Several such processes; `in_order` gives them work."""

    def __init__(self, setting: Setting, number: int) -> None:
        self._started = [_start(setting) for _ in range(number)]

    def in_order(self, works: Iterable[Work]) -> Iterator[Any]:
        """Yield the outcome of each piece of work, in the order they were given.

        Raises:
            Unavailable: the database or a process was lost.
        """
        under_way: deque[Channel] = deque()
        for number, work in enumerate(works):
            _, channel = self._started[number % len(self._started)]
            _send(channel, work)
            under_way.append(channel)
            if len(under_way) == _AHEAD * len(self._started):
                yield _receive(under_way.popleft())
        while under_way:
            yield _receive(under_way.popleft())

    def stop(self) -> None:
        """End the processes, whatever they are at."""
        for process, channel in self._started:
            process.kill()
            process.wait()
            channel.close()


def _start(setting: Setting) -> tuple[subprocess.Popen[bytes], Channel]:
    ours, theirs = Pipe()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-P", "-c", _MAIN, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
    ours.send(setting)
    return process, ours


def _send(channel: Channel, work: Work) -> None:
    try:
        channel.send(work)
    except OSError:
        raise _lost() from None


def _receive(channel: Channel) -> Any:
    try:
        outcome = channel.recv()
    except (EOFError, OSError):
        raise _lost() from None
    if isinstance(outcome, AiInfraError):
        raise outcome
    return outcome


def _lost() -> Unavailable:
    return Unavailable("verification", "A process of the verification ended before its work did; ask again, it goes on where it stood.")


@contextmanager
def reading(setting: Setting) -> Iterator[Connection]:
    """Give a connection that reads the snapshot."""
    with psycopg.connect(setting.url, connect_timeout=10, autocommit=True) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(setting.role)))
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(setting.snapshot)))
        prepare(connection)
        yield connection


def prepare(connection: Connection) -> None:
    """Have this transaction write times in the one way that is compared, and last as long as it takes."""
    for setting in ("TimeZone = 'UTC'", "DateStyle = 'ISO'", "statement_timeout = 0", "idle_in_transaction_session_timeout = 0"):
        connection.execute(sql.SQL("SET LOCAL ") + sql.SQL(setting))


def _serve(channel: Channel) -> None:
    setting = channel.recv()
    try:
        verified, trust = Verified(setting.verified, read_only=True), Trust.model_validate_json(setting.trust)
        with reading(setting) as connection:
            while True:
                channel.send(carry_out(channel.recv(), connection, verified, trust))
    except psycopg.Error as error:
        channel.send(Unavailable("database", f"The database cannot be read ({type(error).__name__}); ask again when it is back."))


def main(arguments: Sequence[str]) -> None:
    """Serve on the descriptor that is named until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(200_000)  # what is read has no cycles; looking for them in every stretch costs a twentieth
    with Channel(int(arguments[0])) as channel:
        try:
            _serve(channel)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            os._exit(0)  # who asked is gone; nothing of ours is to be put away
