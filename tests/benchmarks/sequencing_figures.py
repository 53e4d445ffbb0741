"""Measure the sequencer: events per second, and what many writers lose to the audit log; started by test_sequencing."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, text

from aiinfra_core import artifact_store, database, registering
from aiinfra_core.audit_log import keeping_up as keeping
from aiinfra_core.audit_log.append import event
from aiinfra_core.audit_log.sequence import sequence_pending, waiting
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.keys import audit_signer
from aiinfra_core.registry import jobs, registrations
from aiinfra_core.registry.writes import as_text
from aiinfra_core.settings import Settings
from aiinfra_core.signing.signer import Signer
from tests.benchmarks.registry_figures import durable, postgres_cpu
from tests.factories import training_spec

EVENTS = 10_000
SECONDS = 6.0
PROCESSES, THREADS = 4, 8
LATENCY = 0.02
_ROW = dict.fromkeys(("model", "code_ref", "container_digest", "hyperparams", "spec_digest", "status", "requested_by", "error"), "x" * 40)


class DistantSigner:
    """A signer that answers after 20 ms and takes 32 requests at once, as a key service does."""

    def __init__(self, signer: Signer) -> None:
        self.signer_id, self.public_key, self.parallel = signer.signer_id, signer.public_key, 32
        self._signer = signer

    def sign(self, message: bytes) -> bytes:
        """Sign, later."""
        time.sleep(LATENCY)
        return self._signer.sign(message)


def _fill_outbox(settings: Settings, count: int) -> None:
    told = event("training.started", at=datetime.now(UTC), actor="b", request_id="r", subject="s", rows={"training_jobs": _ROW})
    with database.transaction(settings) as tx:
        insert = "INSERT INTO audit_outbox (event_type, payload) SELECT :event_type, CAST(:payload AS json) FROM generate_series(1, :count)"
        tx.execute(text(insert), told | {"count": count})


def sequencing(settings: Settings) -> None:
    """Print how many events per second are chained with a local and with a distant signer."""
    local = audit_signer(settings)
    for name, signer, count, least in (("local key", local, EVENTS, 3000), ("20 ms signer", DistantSigner(local), EVENTS // 4, 500)):
        _fill_outbox(settings, count)
        began = time.perf_counter()
        assert sequence_pending(settings, signer) == count
        rate = count / (time.perf_counter() - began)
        print(f"sequencing, {name:<14} {rate:7.0f} events/s   / {least}: {rate / least:.2f}")  # noqa: T201


def _request_jobs(settings: Settings, writer: int, number: int) -> None:
    """Ask for a training: three statements and one commit."""
    spec = training_spec(f"/code@{'a' * 40}", seed=number)
    with database.transaction(settings) as tx:
        jobs.request(tx, spec, requested_by="b", request_id=f"{time.time_ns()}/{writer}/{number}", at=datetime.now(UTC))
    keeping.keep_up(settings)


def _registrations(settings: Settings) -> Callable[[Settings, int, int], None]:
    """Return a writer that registers: read, hash, sign and two statements."""
    source = settings.home / "model.bin"
    source.write_bytes(b"weights")
    stored = artifact_store.put(artifact_store.location(settings), source, "uploads/model")

    def register(settings: Settings, writer: int, number: int) -> None:
        request = RegistrationRequest(
            model=f"rainfall-{writer}",
            artifact_uri=stored.uri,
            checksum=stored.checksum,
            registered_by="b",
            request_id=f"{time.time_ns()}/{number}",
        )
        registering.register(settings, request)

    return register


def _without_audit_log() -> None:
    """Switch the audit log off in this process: no event is made, put into the outbox, chained or published."""
    nothing: Any = lambda *_, **__: None  # noqa: E731
    for module in (jobs, registrations, registering, keeping):
        for name in ("append", "event", "keep_up"):
            setattr(module, name, nothing)
    without: Any = {"with_gaps": lambda *_: {}, "_register": as_text(select(registrations._NUMBER).add_cte(registrations._KEPT))}
    for name, value in without.items():
        setattr(registrations, name, value)


def _work(settings: Settings, write: Callable[[Settings, int, int], None], process: int, audited: bool, written: Any) -> None:
    if not audited:
        _without_audit_log()
    end = time.monotonic() + SECONDS

    def work(writer: int) -> None:
        number = 0
        while time.monotonic() < end:
            write(settings, writer, number)
            number += 1
        with written.get_lock():
            written.value += number

    threads = [threading.Thread(target=work, args=(process * THREADS + thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    database.close_connections()


def _throughput(settings: Settings, write: Callable[[Settings, int, int], None], *, audited: bool) -> tuple[float, float, list[int]]:
    """Let 32 writers write for a while; return writes per second, CPU ms per write, and how many events waited, second by second."""
    database.close_connections()
    fork = multiprocessing.get_context("fork")
    written = fork.Value("q", 0)
    began, theirs, own = time.monotonic(), postgres_cpu(settings), os.times()
    workers = [fork.Process(target=_work, args=(settings, write, number, audited, written)) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    backlog = []
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.5)
        with database.transaction(settings) as tx:
            backlog.append(waiting(tx))
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    used = os.times()
    cpu = postgres_cpu(settings) - theirs + used.children_user + used.children_system - own.children_user - own.children_system
    return written.value / (time.monotonic() - began), cpu / written.value * 1e3, backlog


def writers(settings: Settings) -> None:
    """Print what 32 writers reach with the audit log, beside what they reach without it."""
    for name, write in (("register", _registrations(settings)), ("ask for a training", _request_jobs)):
        without, cpu_without, _ = _throughput(settings, write, audited=False)
        reached, cpu, backlog = _throughput(settings, write, audited=True)
        print(f"32 writers, {name:<18} {reached:6.0f}/s of {without:6.0f}/s without audit log: {reached / without:.2f} (least 0.60)")  # noqa: T201
        print(f"    CPU {cpu:.2f} ms of {cpu_without:.2f} ms a write; events waiting, each half second: {backlog}")  # noqa: T201


if __name__ == "__main__":
    with durable() as made_settings:
        sequencing(made_settings)
        writers(made_settings)
