"""Jobs under leases: asked for, claimed, lost, and run by a runner in this process; what is told of them, and waiting for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy import select, text, update

from aiinfra_core import canonical_json, database, jobs, running, verifying
from aiinfra_core.audit_log import keeping_up
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.log_tables import audit_events, audit_outbox
from aiinfra_core.registry import jobs as recorded
from aiinfra_core.registry import leases
from aiinfra_core.registry.leases import Claimed
from aiinfra_core.settings import Settings
from aiinfra_core.work_tables import job_leases
from tests import factories

LIMIT = 3


def queue(settings: Settings, code_ref: str, *seeds: int, **changes: object) -> list[UUID]:
    return [jobs.request_training(settings, factories.training_spec(code_ref, seed=seed, **changes), requested_by="ada") for seed in seeds]


def claim(settings: Settings, holder: str = "kim", models: tuple[str, ...] = ()) -> Claimed | None:
    with database.transaction(settings) as tx:
        return leases.claim(tx, holder=holder, seconds=60, at=jobs.now(), models=models)


def claimed(settings: Settings, holder: str = "kim") -> Claimed:
    found = claim(settings, holder)
    assert found is not None
    return found


def let_expire(settings: Settings, *job_ids: UUID) -> None:
    with database.transaction(settings) as tx:
        over = text("now() - interval '1 second'")
        tx.execute(update(job_leases).where(job_leases.c.job_id.in_(job_ids)).values(expires_at=over))


def take_back(settings: Settings, job_id: UUID) -> TrainingJob:
    with database.transaction(settings) as tx:
        return leases.take_back(tx, job_id, limit=LIMIT, at=jobs.now())


def get(settings: Settings, job_id: UUID) -> TrainingJob:
    with database.transaction(settings) as tx:
        return recorded.get(tx, job_id)


def told(settings: Settings, job_id: UUID) -> list[tuple[str, str]]:
    """Return the events of a job: what, and who."""
    until(lambda: _chained(settings))
    with database.transaction(settings) as tx:
        payloads = tx.execute(select(audit_events.c.payload).order_by(audit_events.c.seq)).scalars()
        events = [canonical_json.loads(payload) for payload in payloads]
    return [(event["type"].removeprefix("training."), event["actor"]) for event in events if event["subject"] == str(job_id)]


def check_history(settings: Settings) -> None:
    until(lambda: _chained(settings))
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


def _chained(settings: Settings) -> bool:
    with database.transaction(settings) as tx:
        if tx.execute(select(audit_outbox.c.id)).first() is None:
            return True
    keeping_up.publish(settings)
    return False


@contextmanager
def runner(settings: Settings) -> Iterator[threading.Event]:
    """Run the runner in a thread until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=running.run, args=(settings, stop))
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def until(what: Callable[[], bool], seconds: float = 30) -> None:
    patience = threading.Event()
    for _ in range(int(seconds * 20)):
        if what():
            return
        patience.wait(0.05)
    raise AssertionError("it did not happen in time")


def ended(settings: Settings, *job_ids: UUID) -> bool:
    return all(get(settings, job_id).status in jobs.ENDED for job_id in job_ids)


def no_lease_left(settings: Settings) -> bool:
    with database.transaction(settings) as tx:
        return tx.execute(select(job_leases.c.job_id).where(job_leases.c.holder.is_not(None))).first() is None
