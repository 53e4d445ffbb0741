"""Re-check the whole history: chain, signatures, tree and checkpoints, every state row against its last event and every event's rows.

One consistent snapshot of the database is read; events still in the outbox count as told, because their rows are committed. The log is
walked in stretches, by several processes where it is long, and put together in `joining`; what is known so far is in `verified`, so that an
interrupted check goes on where it stood, and an incremental one looks at what is new since the last verified checkpoint.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psycopg
from sqlalchemy import Connection, func, select

from aiinfra_core import canonical_json, checksums, database
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.checking import state_rows
from aiinfra_core.audit_log.checking.beginning import Beginning, begin
from aiinfra_core.audit_log.checking.joining import Joining
from aiinfra_core.audit_log.checking.state_rows import PRIMARY_KEYS
from aiinfra_core.audit_log.checking.stretches import EVENTS
from aiinfra_core.audit_log.checking.verified import Verified, opened
from aiinfra_core.audit_log.checking.walk import Problem, audit_keys, readable, rows_told
from aiinfra_core.audit_log.checking.workers import Compare, Setting, Walk, Work, Workers, carry_out, prepare
from aiinfra_core.domain.trust import Trust
from aiinfra_core.errors import EvidenceBroken, Unavailable
from aiinfra_core.keys import trust_of
from aiinfra_core.log_tables import audit_checkpoints
from aiinfra_core.settings import Settings
from aiinfra_core.tables import STATE_TABLES

WORTH_PROCESSES = 20_000
_SETTLE_SECONDS = 2.0
Plain = psycopg.Connection[Any]
Progress = Callable[[str, int, int], None]
_CarryOut = Callable[[Iterable[Work]], Iterator[Any]]


@dataclass(frozen=True)
class Finding:
    """Something that does not verify: where, and what is wrong."""

    place: str
    problem: str


@dataclass
class History:
    """What the log was found to be; without findings it is whole.

    `events` is its length, of which those from `since` on were walked now; `findings` are the first of `broken`; `notes` say what else
    the reader has to know.
    """

    events: int = 0
    since: int = 1
    waiting: int = 0
    checkpoints: int = 0
    rows: int = 0
    broken: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Way:
    """How to check: where what is known is kept (None: nowhere), only what is new, forgetting what is known, in how many processes."""

    state: Path | None = None
    incremental: bool = False
    restart: bool = False
    processes: int | None = None
    progress: Progress = lambda _what, _done, _of: None


WHOLE = Way()


def check_history(settings: Settings, way: Way = WHOLE) -> History:
    """Check the history of the configured database and report what does not verify.

    Raises:
        Conflict: another check is at work with the same state.
        Misconfigured: the state cannot be kept where it should be, or whom to trust is not configured.
        Unavailable: the database, or the place of the published checkpoints, cannot be reached.
    """
    with opened(way.state) as verified, _lost_database_is_unavailable():
        trust = trust_of(settings)
        with database.snapshot(settings) as tx:
            beginning = _begin(tx, verified, trust, way)
        # Listed before the snapshot is taken, so that none is newer than the log that is read.
        odd = _list_published(settings, verified, beginning.published_after)
        _await_newest(settings, verified.last_outside())
        with database.snapshot(settings) as tx:
            return _check(tx, settings, verified, trust, beginning, way, odd)


def check_in(tx: Connection, settings: Settings) -> History:
    """Check the history as a transaction sees it, in this process."""
    with opened(None) as verified:
        trust = trust_of(settings)
        beginning = _begin(tx, verified, trust, WHOLE)
        odd = _list_published(settings, verified, 0)
        return _check(tx, settings, verified, trust, beginning, Way(processes=1), odd)


def _check(
    tx: Connection, settings: Settings, verified: Verified, trust: Trust, beginning: Beginning, way: Way, odd: list[Problem]
) -> History:
    plain = _plain(tx)
    joining = Joining(tx, plain, verified, beginning.position, trust, _published_at(settings))
    joining.note([*beginning.problems, *odd])
    _list_newest_published(settings, verified, joining)
    with _carrier(settings, plain, verified, trust, joining.last - beginning.position.tip.seq, way) as carry_out_all:
        if beginning.incremental:
            joining.check_earlier()
        for stretch in carry_out_all(_walks(beginning.position.tip.seq, joining.last)):
            joining.take(stretch, touching=beginning.incremental)
            way.progress("events", joining.position.tip.seq, joining.last)
        joining.end()
        waiting = _tell_waiting(plain, verified)
        rows = _touched_rows(plain, verified, trust) if beginning.incremental else _every_row(plain, carry_out_all, way)
        joining.note(rows)
    joining.note(_unmatched(plain, verified, beginning.incremental))
    joining.finish()
    return History(
        events=joining.position.tree.size,
        since=beginning.position.tip.seq + 1,
        waiting=waiting,
        checkpoints=joining.checkpoints,
        rows=sum(verified.number_told().values()),
        broken=joining.position.broken,
        findings=[Finding(*problem) for problem in verified.problems()],
        notes=list(beginning.notes),
    )


def _begin(tx: Connection, verified: Verified, trust: Trust, way: Way) -> Beginning:
    digest = checksums.sha256_hex(canonical_json.dumps(trust.model_dump(mode="json", by_alias=True)))
    return begin(_plain(tx), verified, audit_keys(trust), digest, incremental=way.incremental, restart=way.restart)


def _plain(tx: Connection) -> Plain:
    plain = cast("Plain", tx.connection.driver_connection)
    prepare(plain)
    return plain


@contextmanager
def _lost_database_is_unavailable() -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError as error:
        raise Unavailable("database", "The database cannot be reached or was lost on the way; ask again when it is back.") from error


def _published_at(settings: Settings) -> str:
    root = (settings.checkpoint_root or settings.artifact_root or "").rstrip("/")
    return f"{root}/checkpoints/{settings.log_origin.replace('/', '_')}"


def _list_published(settings: Settings, verified: Verified, after: int) -> list[Problem]:
    try:
        verified.add_outside(checkpoints.outside(settings, after=after))
    except EvidenceBroken as error:
        return [(_published_at(settings), error.detail)]
    return []


def _await_newest(settings: Settings, published: int) -> None:
    """Let whoever is just publishing a checkpoint put it into the database too."""
    until = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < until:
        with database.autocommit(settings) as connection:
            newest = connection.execute(select(func.max(audit_checkpoints.c.size))).scalar_one()
        if published <= (newest or 0):
            return
        time.sleep(_SETTLE_SECONDS / 20)


def _list_newest_published(settings: Settings, verified: Verified, joining: Joining) -> None:
    """Take in what was published between the listing and the snapshot; a checkpoint is published before the database has it."""
    known, here = verified.last_outside(), joining.last_checkpoint()
    if here > known:
        newer = checkpoints.outside(settings, after=known)
        verified.add_outside((size, note) for size, note in newer if size <= here)


@contextmanager
def _carrier(settings: Settings, plain: Plain, verified: Verified, trust: Trust, events: int, way: Way) -> Iterator[_CarryOut]:
    """Give what carries out pieces of work in order: processes where that is worth their start, else this one."""
    processes = way.processes or len(os.sched_getaffinity(0))
    if events < WORTH_PROCESSES or processes == 1:
        yield lambda works: (carry_out(work, plain, verified, trust) for work in works)
        return
    role, snapshot = plain.execute("SELECT current_user, pg_export_snapshot()").fetchone() or ("", "")
    url = database.engine_for(settings).url.render_as_string(hide_password=False)
    workers = Workers(Setting(url, role, snapshot, trust.model_dump_json(by_alias=True), verified.path), processes)
    try:
        yield workers.in_order
    finally:
        workers.stop()


def _walks(after: int, to: int) -> Iterator[Walk]:
    return (Walk(start, min(start + EVENTS, to)) for start in range(after, to, EVENTS))


def _tell_waiting(plain: Plain, verified: Verified) -> int:
    """Take in what events in the outbox tell, the later over the earlier, and return how many wait."""
    number = 0
    with plain.cursor(name="waiting") as cursor:
        for number, (payload,) in enumerate(cursor.execute("SELECT payload::text FROM audit_outbox ORDER BY id"), start=1):  # noqa: B007
            told = rows_told(readable(payload), PRIMARY_KEYS)
            verified.add_waiting((table, key, state_rows.digest(row)) for table, key, row in told)
    return number


def _every_row(plain: Plain, carry_out_all: _CarryOut, way: Way) -> Iterator[Problem]:
    works = [Compare(table.name, part) for table in STATE_TABLES for part in state_rows.parts(plain, table)]
    for done, problems in enumerate(carry_out_all(works), start=1):
        yield from problems
        way.progress("rows", done, len(works))


def _touched_rows(plain: Plain, verified: Verified, trust: Trust) -> Iterator[Problem]:
    for table in STATE_TABLES:
        for keys in verified.touched(table.name, state_rows.BATCH):
            yield from state_rows.compare_keys(plain, verified, trust, table, keys)


def _unmatched(plain: Plain, verified: Verified, incremental: bool) -> Iterator[Problem]:
    """Yield rows that stand twice, that are missing and, in an incremental check, that no event tells of."""
    told = verified.number_told()
    for table in STATE_TABLES:
        twice = [] if incremental else state_rows.doubled(plain, table)
        yield from ((f"{table.name} {key}", "the row stands there more than once") for key in twice)
        missing, extra = list[str](), list[str]()
        if twice or verified.broken_in(table.name) or state_rows.number(plain, table) != told.get(table.name, 0):
            missing, extra = verified.unmatched(table.name, state_rows.keys(plain, table))
        yield from ((f"{table.name} {key}", "the row is missing, but an event tells of it") for key in missing)
        yield from ((f"{table.name} {key}", "no event tells of this row") for key in (extra if incremental else ()))
