"""Measure register and promote in a process as a user has it, without a test runner's heap; started by test_registry."""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from pydantic import SecretStr
from sqlalchemy import text

from aiinfra_core import artifact_store, database, migrate, promoting, registering
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.embedded import postgres
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local

CALLS = 300
PROMOTE_CPU_MS = 8.0
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@contextmanager
def durable() -> Iterator[Settings]:
    """Give settings on an embedded Postgres as users have it: with fsync."""
    home = Path(tempfile.mkdtemp(prefix="aiinfra-bench-"))
    try:
        url = postgres.ensure_running(home)
        migrate.migrate(url)
        migrate.grant_roles(url)
        root = (home / "store").as_uri()
        key = SecretStr(local.generate())
        yield Settings(home=home, AI_INFRA_DATABASE_URL=url, artifact_root=root, signer_key_b64=key, signer_id="bench")
    finally:
        database.close_connections()
        postgres.stop(home)
        shutil.rmtree(home, ignore_errors=True)


def postgres_cpu(settings: Settings) -> float:
    """Return the CPU seconds of every process of the server so far, those that ended included."""
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        row = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
    assert row is not None
    leader = int(row[0].split()[0])
    total = 0
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == leader or int(folder.name) == leader:
                own, children = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
                total += own + (children if int(folder.name) == leader else 0)
    return total / TICKS_PER_SECOND


def measured(settings: Settings, name: str, call: Callable[[int], object]) -> float:
    """Call many times and print p50, p95 and CPU per call in ms; return the CPU per call."""
    for number in range(20):
        call(-number - 1)
    own, theirs, seconds = time.process_time(), postgres_cpu(settings), []
    for number in range(CALLS):
        began = time.perf_counter()
        call(number)
        seconds.append(time.perf_counter() - began)
    own, theirs = time.process_time() - own, postgres_cpu(settings) - theirs
    p50, p95 = statistics.median(seconds) * 1e3, statistics.quantiles(seconds, n=20)[-1] * 1e3
    cpu = (own + theirs) / CALLS * 1e3
    parts = f"Python {own / CALLS * 1e3:.2f}, Postgres {theirs / CALLS * 1e3:.2f}"
    print(f"\n{name:<44} p50 {p50:6.2f} ms   p95 {p95:6.2f} ms   CPU {cpu:5.2f} ms ({parts})")  # noqa: T201
    return cpu


def measure(settings: Settings) -> None:
    """Print the figures."""
    source = settings.home / "model.bin"

    def stored(number: int) -> RegistrationRequest:
        source.write_text(f"weights {number}")
        kept = artifact_store.put(artifact_store.location(settings), source, f"uploads/n{number + 1000}")
        return RegistrationRequest(model="rainfall", artifact_uri=kept.uri, checksum=kept.checksum, registered_by="bench")

    requests = {number: stored(number) for number in range(-20, CALLS)}
    others = {number: stored(number + 10_000) for number in range(-20, CALLS)}
    unscanned = settings.model_copy(update={"scan": False})
    floor = measured(settings, "one row, one commit (the floor)", lambda _: _one_row(settings))
    made: dict[int, Artifact] = {}

    def register(number: int) -> None:
        made[number] = registering.register(settings, requests[number])

    def promote(number: int) -> None:
        asked = PromotionRequest(artifact=str(made[number].id), environment="prod", evaluation={"quality": 0.9}, requested_by="bench")
        assert promoting.promote(settings, asked).status is PromotionStatus.APPLIED

    bare = measured(settings, "register, not scanned", lambda number: registering.register(unscanned, others[number]))
    registered = measured(settings, "register", register)
    claimed = measured(settings, "promote, judged on a new claim", promote)
    promoted = measured(settings, "promote, judged on a recorded evaluation", promote)
    print(f"\nregister / floor: {registered / floor:.1f}, / not scanned: {registered / bare:.2f}")  # noqa: T201
    print(f"promote / {PROMOTE_CPU_MS} ms: {promoted / PROMOTE_CPU_MS:.2f}")  # noqa: T201
    print(f"promote with a new claim / {PROMOTE_CPU_MS} ms: {claimed / PROMOTE_CPU_MS:.2f}")  # noqa: T201


def _one_row(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        tx.execute(text("INSERT INTO request_ids VALUES ('bench', gen_random_uuid()::text, 'x', gen_random_uuid(), now())"))


if __name__ == "__main__":
    with durable() as made_settings:
        measure(made_settings)
