"""Measure the stored Merkle tree over a long log: growing it, and proofs read from it; started by test_sequencing.

AIINFRA_BENCH_EVENTS says how long the log is (1,000,000 unless told).
"""

import os
import random
import resource
import statistics
import time
from collections.abc import Callable

from sqlalchemy import select

from aiinfra_core import database, merkle
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.checkpoints import Published
from aiinfra_core.evidence import log_proof
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from tests.benchmarks.registry_figures import durable
from tests.simulators.long_log import fill

EVENTS = int(os.environ.get("AIINFRA_BENCH_EVENTS", "1000000"))
PROOFS = 300


def measure(settings: Settings) -> None:
    """Print the figures; every proof is verified."""
    signer, chance = audit_signer(settings), random.Random(1)  # noqa: S311 - the same places each time
    sizes = [chance.randint(1, EVENTS // 2) for _ in range(2)] + [EVENTS]
    made, roots, size = Published(Checkpoint(settings.log_origin, 0, merkle.EMPTY_ROOT), b""), {}, 0
    for wanted in sorted(sizes):
        fill(settings, wanted - size, signer)
        began, size = time.perf_counter(), wanted
        made = checkpoints.checkpoint(settings, signer) or made
        roots[wanted] = made.checkpoint.root
    rate = (size - sorted(sizes)[-2]) / (time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\ntree of {size} events: {rate:.0f} events/s, {peak:.0f} MB of memory at most")  # noqa: T201

    def inclusion() -> Callable[[], None]:
        seq = chance.randint(1, size)
        with database.transaction(settings) as tx:
            proof = checkpoints.inclusion(tx, seq, made)
        return lambda: log_proof.verify(proof, _entry(settings, seq), made.checkpoint)

    def consistency() -> Callable[[], None]:
        old = chance.choice(sizes)
        with database.transaction(settings) as tx:
            path = checkpoints.consistency(tx, old, size)
        return lambda: merkle.verify_consistency(old, roots[old], size, roots[size], path)

    _print("inclusion proof", inclusion, 10)
    _print("consistency proof", consistency, 50)


def _entry(settings: Settings, seq: int) -> bytes:
    with database.transaction(settings) as tx:
        row = tx.execute(select(audit_events).where(audit_events.c.seq == seq)).mappings().one()
    return leaf({str(name): value for name, value in row.items()})


def _print(name: str, make: Callable[[], Callable[[], None]], most_ms: float) -> None:
    seconds, cpu = [], 0.0
    for _ in range(PROOFS):
        began, own = time.perf_counter(), time.process_time()
        verify = make()
        seconds.append(time.perf_counter() - began)
        cpu += time.process_time() - own
        verify()
    p50, p95 = statistics.median(seconds) * 1e3, statistics.quantiles(seconds, n=20)[-1] * 1e3
    own_ms = cpu / PROOFS * 1e3
    print(f"{name:<18} p50 {p50:5.2f} ms   p95 {p95:5.2f} ms   CPU {own_ms:.2f} ms   p95 / {most_ms:.0f} ms: {p95 / most_ms:.2f}")  # noqa: T201


if __name__ == "__main__":
    with durable() as made_settings:
        measure(made_settings)
