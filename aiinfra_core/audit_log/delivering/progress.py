"""How far each sink is, and what it would not take: `audit_deliveries` and `audit_dead_letters`, and the lock of the one deliverer."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, text

from aiinfra_core import database
from aiinfra_core.audit_log.delivering.sinks import Row, Sink
from aiinfra_core.log_tables import audit_dead_letters, audit_deliveries, audit_events
from aiinfra_core.settings import Settings

LONGEST_PAUSE_SECONDS = 300
_STATE = text(
    "SELECT delivered_seq, last_error, coalesce(retry_at > clock_timestamp(), false) AS paused FROM audit_deliveries WHERE sink = :sink"
)
_MOVED = text(
    """
    INSERT INTO audit_deliveries (sink, delivered_seq, failures, updated_at) VALUES (:sink, :seq, 0, clock_timestamp())
    ON CONFLICT (sink) DO UPDATE SET delivered_seq = excluded.delivered_seq, failures = 0, last_error = NULL,
      retry_at = NULL, updated_at = excluded.updated_at
    """
)
# After 1, 2, 4, ... seconds, each between half and the whole of that, so that many deliverers do not come back in step.
_FAILED = text(
    f"""
    WITH before AS (SELECT failures FROM audit_deliveries WHERE sink = :sink),
      counted AS (SELECT coalesce((SELECT failures FROM before), 0) + 1 AS failures),
      pause AS (SELECT least({LONGEST_PAUSE_SECONDS}, power(2, least(failures - 1, 30))) * (0.5 + random() / 2) AS seconds FROM counted)
    INSERT INTO audit_deliveries (sink, delivered_seq, failures, last_error, retry_at, updated_at)
    SELECT :sink, 0, counted.failures, :error, clock_timestamp() + make_interval(secs => pause.seconds), clock_timestamp()
    FROM counted, pause
    ON CONFLICT (sink) DO UPDATE SET failures = excluded.failures, last_error = excluded.last_error, retry_at = excluded.retry_at,
      updated_at = excluded.updated_at
    RETURNING failures
    """  # noqa: S608 - a constant of ours
)
_SET_ASIDE = text(
    """
    INSERT INTO audit_dead_letters AS before (sink, seq, reason, attempts, created_at)
    VALUES (:sink, :seq, :reason, :attempts, clock_timestamp())
    ON CONFLICT (sink, seq) DO UPDATE SET reason = excluded.reason, attempts = before.attempts + excluded.attempts
    """
)
_TAKEN = text("DELETE FROM audit_dead_letters WHERE sink = :sink AND seq = :seq")


@dataclass(frozen=True)
class State:
    """How far a sink is and what went wrong last; `paused` while the time of its next try has not come."""

    delivered: int = 0
    last_error: str | None = None
    paused: bool = False


def held(settings: Settings, sink: Sink) -> AbstractContextManager[Connection | None]:
    """Give a connection to the one deliverer of a sink, None while another one is at work; a killed holder lets go at once.

    Each statement on it is a transaction of its own.

    Raises:
        Unavailable: the database cannot be reached or was lost on the way.
    """
    return database.free_advisory_lock(settings, int.from_bytes(bytes.fromhex(sink.id)[:8], signed=True))


def state(connection: Connection, sink: Sink) -> State:
    """Return how far a sink is."""
    row = connection.execute(_STATE, {"sink": sink.id}).one_or_none()
    return State() if row is None else State(row.delivered_seq, row.last_error, row.paused)


def after(connection: Connection, seq: int, limit: int) -> Sequence[Row]:
    """Return the next events after a place in the log, in order."""
    query = select(audit_events).where(audit_events.c.seq > seq).order_by(audit_events.c.seq).limit(limit)
    return [{str(name): value for name, value in row.items()} for row in connection.execute(query).mappings()]


def moved(connection: Connection, sink: Sink, seq: int) -> None:
    """Record that a sink has every event up to this one, or that they are set aside; it works again."""
    connection.execute(_MOVED, {"sink": sink.id, "seq": seq})


def failed(connection: Connection, sink: Sink, error: str) -> int:
    """Record that a sink did not take its next event now, and when to try again; return how often that happened in a row."""
    failures: int = connection.execute(_FAILED, {"sink": sink.id, "error": error}).scalar_one()
    return failures


def set_aside(connection: Connection, sink: Sink, seq: int, reason: str, attempts: int = 1) -> None:
    """Keep an event a sink does not take as a dead letter; once more, its attempts are added up."""
    connection.execute(_SET_ASIDE, {"sink": sink.id, "seq": seq, "reason": reason, "attempts": attempts})


def taken(connection: Connection, sink: Sink, seq: int) -> None:
    """Forget the dead letter of an event, if there is one: the sink has it now."""
    connection.execute(_TAKEN, {"sink": sink.id, "seq": seq})


def dead(connection: Connection, sink: Sink, seq: int, limit: int) -> Sequence[Row]:
    """Return the next events set aside for a sink after a place in the log, in order."""
    of_sink = (audit_dead_letters.c.seq == audit_events.c.seq) & (audit_dead_letters.c.sink == sink.id)
    query = select(audit_events).join(audit_dead_letters, of_sink).where(audit_events.c.seq > seq).order_by(audit_events.c.seq).limit(limit)
    return [{str(name): value for name, value in row.items()} for row in connection.execute(query).mappings()]


@dataclass(frozen=True)
class Standing:
    """What the tables say about a sink, for people: `lag` is how many events it has not been given yet."""

    sink: Sink
    delivered: int
    lag: int
    dead_letters: int
    failures: int
    last_error: str | None
    retry_at: datetime | None


def standing(connection: Connection, sinks: Sequence[Sink]) -> list[Standing]:
    """Return where every sink stands."""
    head = connection.execute(select(func.coalesce(func.max(audit_events.c.seq), 0))).scalar_one()
    query = select(audit_dead_letters.c.sink, func.count()).group_by(audit_dead_letters.c.sink)
    letters = {row[0]: int(row[1]) for row in connection.execute(query)}
    rows = {row["sink"]: row for row in connection.execute(select(audit_deliveries)).mappings()}
    return [_standing(sink, rows.get(sink.id, {}), head, letters.get(sink.id, 0)) for sink in sinks]


def _standing(sink: Sink, row: Any, head: int, letters: int) -> Standing:
    delivered = row.get("delivered_seq", 0)
    return Standing(sink, delivered, head - delivered, letters, row.get("failures", 0), row.get("last_error"), row.get("retry_at"))
