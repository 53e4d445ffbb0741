"""Who may run a job now: claim, heartbeat, release, and taking back what nobody runs any more.

A lease is a secret token with an end that heartbeats push on; of the token only the SHA-256 is kept. It is lost when it is taken back,
not when its end passes: whoever comes late but first has still done the work. A job without a holder here is run by a flow or a person
at a terminal, and cannot be lost this way. Times are the database's, so that clocks of executors do not matter. In each function the
job's row is locked before its lease.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from aiinfra_core import checksums
from aiinfra_core.domain.training import JobStatus, Lease, TrainingJob
from aiinfra_core.errors import Conflict, Forbidden
from aiinfra_core.registry import jobs
from aiinfra_core.registry.rows import first
from aiinfra_core.tables import training_jobs
from aiinfra_core.work_tables import job_leases

SYSTEM = "ai-infra"
"""The actor of what happens because somebody is gone."""
_TOKEN_BYTES = 32
_OPEN = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True)
class Claimed:
    """A job under a new lease; the token is told this once."""

    job: TrainingJob
    token: str
    expires_at: datetime
    attempts: int


@dataclass(frozen=True)
class Pushed:
    """A lease's new end, and how many seconds that is from now."""

    expires_at: datetime
    seconds: float


def claim(tx: Connection, *, holder: str, seconds: float, at: datetime, models: Sequence[str] = ()) -> Claimed | None:
    """Start the oldest queued job that no Prefect run is to do, under a lease; None when nothing waits.

    Args:
        tx: the transaction.
        holder: who will run it.
        seconds: until the lease ends, unless a heartbeat comes.
        at: when.
        models: only jobs of these, if any are named.
    """
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    linked = select(job_leases.c.job_id).where(job_leases.c.job_id == training_jobs.c.id, job_leases.c.flow_run_id.is_not(None))
    waiting = select(training_jobs.c.id).where(training_jobs.c.status == JobStatus.QUEUED, ~linked.exists())
    if models:
        waiting = waiting.where(training_jobs.c.model.in_(models))
    oldest = waiting.order_by(training_jobs.c.created_at, training_jobs.c.id).limit(1).with_for_update(skip_locked=True).cte("oldest")
    started = (
        update(training_jobs)
        .where(training_jobs.c.id == oldest.c.id)
        .values(status=JobStatus.RUNNING, started_at=at, updated_at=at)
        .returning(training_jobs.c.id)
        .cte("started")
    )
    lease: dict[str, ColumnElement[Any]] = {
        "job_id": started.c.id,
        "attempts": literal(1),
        "holder": literal(holder),
        "token_digest": literal(_digest(token)),
        "expires_at": _end(seconds),
        "updated_at": literal(at),
    }
    new = insert(job_leases).from_select(list(lease), select(*lease.values()))
    taken = {name: new.excluded[name] for name in ("holder", "token_digest", "expires_at", "updated_at")}
    statement = new.on_conflict_do_update(
        index_elements=[job_leases.c.job_id], set_=taken | {"attempts": job_leases.c.attempts + 1}
    ).returning(job_leases.c.job_id, job_leases.c.attempts, job_leases.c.expires_at)
    found = first(tx, statement)
    if found is None:
        return None
    job = jobs.tell_started(tx, found["job_id"], by=holder, at=at)
    return Claimed(job, token, found["expires_at"], found["attempts"])


def heartbeat(tx: Connection, job_id: UUID, token: str, *, by: str, seconds: float, at: datetime) -> Pushed:
    """Push a lease's end on and return it.

    Raises:
        NotFound: there is no such job.
        Conflict: the lease was lost.
        Forbidden: it is somebody else's.
    """
    row = _locked(tx, job_id)
    if row is None:
        jobs.get(tx, job_id)
    _checked(row, job_id, token, by)
    pushed = _changed(tx, job_id, expires_at=_end(seconds), updated_at=at)
    return Pushed(pushed["expires_at"], seconds)


def fence(tx: Connection, job_id: UUID, *, token: str | None, by: str) -> TrainingJob:
    """Lock a job that is about to be changed, and return it; without a token, nobody may hold a lease on it.

    Raises:
        NotFound: there is no such job.
        Conflict: the lease was lost, or somebody holds one.
        Forbidden: it is somebody else's.
    """
    job, row = jobs.lock(tx, job_id), _locked(tx, job_id)
    if token is not None:
        _checked(row, job_id, token, by)
    elif row is not None and row["holder"] is not None:
        raise Conflict(f"Training job {job_id} is run by {row['holder']} under a lease; wait for what comes of it.")
    return job


def ended_with(tx: Connection, job_id: UUID, token: str) -> bool:
    """Tell whether the last lease on a job had this token and was given back in good order."""
    row = first(tx, select(job_leases).where(job_leases.c.job_id == job_id))
    return row is not None and row["holder"] is None and _same(row["token_digest"], token)


def release(tx: Connection, job_id: UUID, token: str, *, by: str, at: datetime) -> TrainingJob:
    """Give a job back that was not run to its end; it does not count as lost.

    One that is completed keeps its lease, which ends now: whoever looks next registers what it made.

    Raises:
        NotFound, Conflict, Forbidden: as `fence`.
    """
    job = fence(tx, job_id, token=token, by=by)
    if job.status is JobStatus.COMPLETED:
        _changed(tx, job_id, expires_at=func.now(), updated_at=at)
        return job
    _changed(tx, job_id, holder=None, expires_at=None, attempts=func.greatest(job_leases.c.attempts - 1, 0), updated_at=at)
    return jobs.release(tx, job_id, by=by, at=at)


def finish(tx: Connection, job_id: UUID, *, at: datetime) -> None:
    """End the lease on a job that has nothing left to be done for it."""
    _changed(tx, job_id, holder=None, expires_at=None, updated_at=at)


def put_off(tx: Connection, job_id: UUID, *, seconds: float, at: datetime) -> None:
    """Let an ended lease end later, so that others come first."""
    _changed(tx, job_id, expires_at=_end(seconds), updated_at=at)


def give_up(tx: Connection, job_id: UUID, token: str, reason: str, *, by: str, limit: int, at: datetime) -> TrainingJob:
    """Count a run as lost by whoever ran it: the job goes back or, after `limit` of them, fails with the reason.

    Raises:
        NotFound, Conflict, Forbidden: as `fence`.
    """
    fence(tx, job_id, token=token, by=by)
    return _lose(tx, job_id, reason, by=by, limit=limit, at=at)


def expired(tx: Connection, status: JobStatus = JobStatus.RUNNING) -> list[UUID]:
    """Return the jobs of this status whose lease has ended, the longest ended first; `take_back` looks again before it does anything."""
    of_status = job_leases.join(training_jobs, training_jobs.c.id == job_leases.c.job_id)
    late = select(job_leases.c.job_id).select_from(of_status).where(job_leases.c.expires_at <= func.now(), training_jobs.c.status == status)
    over = late.order_by(job_leases.c.expires_at).limit(200)
    return list(tx.execute(over).scalars())


def take_back(tx: Connection, job_id: UUID, *, limit: int, at: datetime) -> TrainingJob:
    """Take an expired lease back: the job is queued again or, lost `limit` times, fails. A job that is not lost stays as it is.

    A completed job keeps its lease until it is registered (`finish`).

    Raises:
        NotFound: there is no such job.
    """
    job = jobs.lock(tx, job_id)
    row = first(tx, select(job_leases.c.holder).where(job_leases.c.job_id == job_id, job_leases.c.expires_at <= func.now()))
    if row is None or job.status is not JobStatus.RUNNING:
        return job
    return _lose(tx, job_id, f"{row['holder']} was not heard of in time", by=SYSTEM, limit=limit, at=at)


def of_job(tx: Connection, job_id: UUID) -> Lease | None:
    """Return who runs a job now and how often it was begun; None where no lease or Prefect run ever was on it."""
    row = first(tx, select(job_leases).where(job_leases.c.job_id == job_id))
    return None if row is None else _lease(row)


def of_jobs(tx: Connection, job_ids: Sequence[UUID]) -> dict[UUID, Lease]:
    """Return the same for many jobs, by the job's id."""
    rows = tx.execute(select(job_leases).where(job_leases.c.job_id.in_(job_ids))).mappings()
    return {row["job_id"]: _lease({str(name): value for name, value in row.items()}) for row in rows}


def link(tx: Connection, job_id: UUID, flow_run_id: UUID, *, at: datetime) -> None:
    """Record which Prefect run is to do a job; another run than before is another attempt."""
    new = insert(job_leases).values(job_id=job_id, attempts=1, flow_run_id=flow_run_id, updated_at=at)
    other = job_leases.c.flow_run_id.is_distinct_from(new.excluded.flow_run_id)
    changes = {"flow_run_id": new.excluded.flow_run_id, "attempts": job_leases.c.attempts + 1, "updated_at": new.excluded.updated_at}
    tx.execute(new.on_conflict_do_update(index_elements=[job_leases.c.job_id], set_=changes, where=other))


def seen(tx: Connection, job_id: UUID, *, at: datetime) -> None:
    """Record that somebody is at work on a job that a Prefect run does."""
    _changed(tx, job_id, updated_at=at)


def lose_run(tx: Connection, job_id: UUID, flow_run_id: UUID | None, reason: str, *, limit: int, at: datetime) -> TrainingJob:
    """Count the Prefect run that was to do a job as lost: the job waits again or, lost `limit` times, fails with the reason.

    A job that ended, or that another run is to do by now, stays as it is.

    Raises:
        NotFound: there is no such job.
    """
    job, row = jobs.lock(tx, job_id), _locked(tx, job_id)
    if job.status not in _OPEN or row is None or row["flow_run_id"] != flow_run_id:
        return job
    return _lose(tx, job_id, reason, by=SYSTEM, limit=limit, at=at)


def not_handed_over(tx: Connection) -> list[UUID]:
    """Return the queued jobs that nobody runs and no Prefect run is to do, oldest first."""
    known = select(job_leases.c.job_id).where(
        job_leases.c.job_id == training_jobs.c.id, job_leases.c.flow_run_id.is_not(None) | job_leases.c.holder.is_not(None)
    )
    waiting = select(training_jobs.c.id).where(training_jobs.c.status == JobStatus.QUEUED, ~known.exists())
    return list(tx.execute(waiting.order_by(training_jobs.c.created_at, training_jobs.c.id).limit(100)).scalars())


def handed_over(tx: Connection) -> list[tuple[TrainingJob, Lease]]:
    """Return the jobs that a Prefect run is to do and that have not ended, the longest unheard of first."""
    both = job_leases.join(training_jobs, training_jobs.c.id == job_leases.c.job_id)
    linked = select(job_leases).select_from(both).where(job_leases.c.flow_run_id.is_not(None), job_leases.c.holder.is_(None))
    open_ones = linked.where(training_jobs.c.status.in_(_OPEN)).order_by(job_leases.c.updated_at).limit(200)
    found = [_lease({str(name): value for name, value in row.items()}) for row in tx.execute(open_ones).mappings()]
    return [(jobs.get(tx, lease.job_id), lease) for lease in found]


def _lose(tx: Connection, job_id: UUID, reason: str, *, by: str, limit: int, at: datetime) -> TrainingJob:
    row = _changed(tx, job_id, holder=None, expires_at=None, token_digest=None, updated_at=at)
    if row["attempts"] < limit:
        return jobs.release(tx, job_id, by=by, at=at)
    error = f"The training was begun {row['attempts']} times and lost each time, at last because {reason}; look at what ran it."
    return jobs.fail(tx, job_id, error=error, exit_code=None, log_uri=None, by=by, at=at)


def _locked(tx: Connection, job_id: UUID) -> dict[str, Any] | None:
    return first(tx, select(job_leases).where(job_leases.c.job_id == job_id).with_for_update())


def _checked(row: dict[str, Any] | None, job_id: UUID, token: str, by: str) -> None:
    if row is None or row["holder"] is None or not _same(row["token_digest"], token):
        raise Conflict(f"The lease on training job {job_id} is not yours any more; stop the training, what it makes is not taken.")
    if row["holder"] != by:
        raise Forbidden(f"The lease on training job {job_id} belongs to {row['holder']}; only they may use its token.")


def _same(digest: str | None, token: str) -> bool:
    return hmac.compare_digest(digest or "", _digest(token))


def _digest(token: str) -> str:
    return checksums.sha256_hex(token.encode())


def _end(seconds: float) -> ColumnElement[Any]:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, float(seconds))


def _changed(tx: Connection, job_id: UUID, **changes: Any) -> dict[str, Any]:
    row = first(tx, update(job_leases).where(job_leases.c.job_id == job_id).values(**changes).returning(*job_leases.c))
    assert row is not None  # noqa: S101 - callers looked at it in this transaction
    return row


def _lease(row: dict[str, Any]) -> Lease:
    return Lease(**{name: row[name] for name in Lease.model_fields})
