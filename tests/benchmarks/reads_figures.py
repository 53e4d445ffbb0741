"""Measure what is read at 1,000 and at 1,000,000 seeded artifacts, in a process of its own; started by test_reads.

CPU of this process and of Postgres together, per call, each call about something else; no HTTP, which costs the same at any size.
"""

import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import make_url

from aiinfra_core import database, migrate
from aiinfra_core.embedded import postgres
from aiinfra_core.registry import lineage, listing, reading
from aiinfra_core.registry.search import ARTIFACTS, PROMOTIONS, artifact_filters
from aiinfra_core.settings import Settings
from scripts.seed_registry import seed
from tests.benchmarks.registry_figures import postgres_cpu

FEW, MANY = 1_000, 1_000_000
CALLS = 200
WANTED = 1.5
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)

Read = Callable[[Any, int], object]


def reads(count: int) -> dict[str, Read]:
    """Return what is measured: the number of the artifact it is about -> the read."""

    def search(asked: Callable[[int], dict[str, Any]], deep: bool = False) -> Read:
        def read(tx: Any, i: int) -> object:
            after = (_BEGAN + timedelta(seconds=i), _id("artifact", i)) if deep else None
            return listing.read(tx, ARTIFACTS, artifact_filters(asked(i)), limit=50, after=after)

        return read

    def model(i: int) -> str:
        return f"model-{i % max(count // 100, 1)}"

    return {
        "detail": lambda tx, i: reading.model(tx, str(_id("artifact", i))),
        "lineage": lambda tx, i: lineage.lineage(tx, str(_id("artifact", i - i % 5))),
        "lineage without promotions": lambda tx, i: lineage.lineage(tx, str(_id("artifact", i - i % 5 + 1))),
        "list, first page": search(lambda _: {}),
        "list, deep cursor": search(lambda _: {}, deep=True),
        "list, offset 500": lambda tx, _: listing.read(tx, ARTIFACTS, {}, limit=50, offset=500),
        "model": search(lambda i: {"model": model(i)}),
        "model and version": search(lambda i: {"model": model(i), "version": i % 10 + 1}),
        "digest": search(lambda i: {"checksum": _digest("bytes", i)}),
        "training job": search(lambda i: {"training_job_id": _id("job", i)}),
        "environment, four of it": lambda tx, _: listing.read(tx, ARTIFACTS, artifact_filters({"environment": "prod"}), limit=4),
        "status": search(lambda _: {"status": "applied"}),
        "status, none there": search(lambda _: {"status": "expired"}),
        "code": search(lambda i: {"code_ref": f"https://git.example/models.git@{_digest('commit', i // 10)[:40]}"}),
        "dataset of its own": search(lambda i: {"dataset": f"data-{i // 20}"}),
        "dataset all share": search(lambda _: {"dataset": "shared"}),
        "metric, wide": search(lambda _: {"metric": "quality", "at_least": 0.8, "at_most": 0.95}),
        "metric, narrow": search(lambda i: {"metric": "quality", "at_least": 0.5 + (v := i % 40 / 100), "at_most": 0.6 + v}),
        "metric of a model": search(lambda i: {"metric": "quality", "model": model(i), "at_least": 0.8}),
        "time": search(lambda i: {"created_before": _BEGAN + timedelta(seconds=i)}),
        "no provenance": search(lambda _: {"untrained": True}),
        "model and status": search(lambda i: {"model": model(i), "status": "applied"}),
        "promotions of a place": lambda tx, i: listing.read(tx, PROMOTIONS, {"environment": "prod", "model": model(i)}, limit=50),
        "promotions by status": lambda tx, _: listing.read(tx, PROMOTIONS, {"status": "rejected"}, limit=50),
    }


def _id(kind: str, i: int) -> UUID:
    return UUID(hashlib.md5(f"{kind}{i}".encode(), usedforsecurity=False).hexdigest())


def _digest(kind: str, i: int) -> str:
    return hashlib.sha256(f"{kind}{i}".encode()).hexdigest()


@contextmanager
def seeded(home: Path) -> Iterator[dict[int, Settings]]:
    """Give a database of each size on one server, as users have it, but for the flushing that only writes wait for."""
    server = postgres.ensure_running(home, {"fsync": "off", "synchronous_commit": "off", "max_wal_size": "8GB"})
    try:
        yield {count: _database(server, home, count) for count in (FEW, MANY)}
    finally:
        database.close_connections()
        postgres.stop(home)


def _database(server: str, home: Path, count: int) -> Settings:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE seeded_{count}".encode())
    url = make_url(server).set(database=f"seeded_{count}").render_as_string(hide_password=False)
    migrate.migrate(url)
    migrate.grant_roles(url)
    seed(url, count)
    return Settings(home=home, AI_INFRA_DATABASE_URL=url)


def cpu_of(settings: Settings, read: Read, count: int) -> float:
    """Return the CPU of a call in ms."""
    numbers = [count // 10 + step * (count * 8 // 10) // CALLS for step in range(CALLS)]
    with database.autocommit(settings) as tx:
        for number in numbers:
            read(tx, number)
        own, theirs = time.process_time(), postgres_cpu(settings)
        for number in numbers * 3:
            read(tx, number)
        return (time.process_time() - own + postgres_cpu(settings) - theirs) / len(numbers) / 3 * 1e3


def measure(databases: dict[int, Settings]) -> None:
    """Print the figures."""
    print(f"\n{'CPU per read, ms':<32}{FEW:>12,}{MANY:>12,}    ratio (wanted: {WANTED})")  # noqa: T201
    for name in reads(FEW):
        few, many = (cpu_of(settings, reads(count)[name], count) for count, settings in databases.items())
        print(f"{name:<32}{few:>12.2f}{many:>12.2f}{many / few:>9.2f}", flush=True)  # noqa: T201


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(tempfile.mkdtemp(prefix="aiinfra-bench-"))
    try:
        with seeded(folder) as made:
            measure(made)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
