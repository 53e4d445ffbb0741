"""How far the log is and what waits for it, in numbers that are cheap to find: each is a count of few rows or one look at an index."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

MOST_WAITING = 10_000
"""Of events that wait no more are counted."""

_FIGURES = text(
    f"""
    SELECT (SELECT count(*) FROM (SELECT FROM audit_outbox LIMIT {MOST_WAITING}) AS waiting_events) AS waiting,
      (SELECT coalesce(max(seq), 0) FROM audit_events) AS events,
      (SELECT coalesce(max(size), 0) FROM audit_checkpoints) AS covered,
      (SELECT extract(epoch FROM clock_timestamp() - created_at) FROM audit_checkpoints ORDER BY size DESC LIMIT 1) AS age
    """  # noqa: S608 - a constant of ours
)


@dataclass(frozen=True)
class Figures:
    """Events in the outbox and in the log, how many of these the newest checkpoint covers, and its age in seconds if there is one."""

    waiting: int
    events: int
    covered: int
    checkpoint_age: float | None


def figures(connection: Connection) -> Figures:
    """Return how far the log is."""
    row = connection.execute(_FIGURES).one()
    return Figures(row.waiting, row.events, row.covered, None if row.age is None else float(row.age))
