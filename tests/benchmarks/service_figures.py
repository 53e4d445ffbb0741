"""Measure the service beside a minimal one, both with two workers, on one Postgres with fsync on; started by test_service.

The load client has a process of its own on the same machine. Rounds take turns, so that a busy neighbour meets both.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from subprocess import Popen
from threading import Event
from typing import Any

import psycopg

from aiinfra_core import artifact_store, database
from aiinfra_core.audit_log.sequence import waiting
from aiinfra_core.settings import Settings
from tests.benchmarks import service_minimal
from tests.benchmarks.registry_figures import durable, postgres_cpu
from tests.benchmarks.service_process import Served, asked, cpu_seconds, family, load_client, memory_mib, served

ROUNDS = 3
SECONDS = 4.0
MANY = 32
MODELS = 64
ARTIFACTS = 2000
TOKEN = "a-token-for-measuring"  # noqa: S105 - of a service that lives for a minute
_MINIMAL = ["-m", "uvicorn", "--port", "PORT", "--workers", "2", "--loop", "uvloop", "--http", "httptools", "--no-access-log"]
_SERVE = [str(Path(sys.executable).with_name("aiinfra")), "serve", "--addr", "127.0.0.1:PORT", "--workers", "2"]
_AS_DEBUG = {"X-Debug-Token": TOKEN}
_NAMES = ("insert 1", "insert 32", "register 1", "register 32", "register 32, with keys", "read 32", "detail 32")


@dataclass
class Figures:
    """What each round of one kind of request gave."""

    rate: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    postgres: list[float] = field(default_factory=list)
    most_waiting: int = 0
    left_waiting: int = 0
    drained: float = 0.0


def request(method: str, path: str, body: Any = None, **headers: str) -> str:
    """Return the text of a request."""
    text = "" if body is None else json.dumps(body)
    named = {"Host": "bench", "Content-Type": "application/json", "Content-Length": str(len(text)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n{text}"


def registrations(settings: Settings, with_key: bool) -> Iterator[str]:
    """Yield requests to register, each another one: a small artifact that is stored already, under one of many names."""
    source, stored = settings.home / "model.bin", []
    for number in range(ARTIFACTS):
        source.write_text(f"weights {number}")
        stored.append(artifact_store.put(artifact_store.location(settings), source, f"uploads/n{number}"))
    for number in count():
        kept = stored[number // MODELS % ARTIFACTS]
        body = {"artifactUri": kept.uri, "checksum": kept.checksum, "metadata": {"seed": 7}, "model": f"m{number % MODELS}"}
        if number >= MODELS * ARTIFACTS:
            raise RuntimeError("more artifacts are needed")
        key = {"Idempotency-Key": f"{with_key}-{number}"} if with_key else {}
        yield request("POST", "/ai-infra/register", body, **_AS_DEBUG, **key)


def rows() -> Iterator[str]:
    """Yield requests to insert one row."""
    body = {"artifact_uri": "file:///store/uploads/n1", "checksum": "0" * 64, "metadata": {"seed": 7}}
    for number in count():
        yield request("POST", "/rows", {**body, "model": f"m{number % MODELS}"})


def measured(
    settings: Settings, client: Popen[str], server: Served, requests: Iterator[str] | str, connections: int, into: Figures
) -> dict[str, Any]:
    """Do one round and return the first answer's body; CPU counts until the outbox is empty."""
    texts = [requests] if isinstance(requests, str) else [next(requests) for _ in range(int(SECONDS * (1200 if connections > 1 else 500)))]
    order = {"port": server.port, "connections": connections, "seconds": SECONDS, "requests": texts, "repeat": isinstance(requests, str)}
    pids = family(server.process.pid)
    own, theirs = cpu_seconds(pids), postgres_cpu(settings)
    with ThreadPoolExecutor(1) as pool:
        ended = Event()
        backlog = pool.submit(_watched_backlog, settings, ended)
        done = asked(client, order)
        ended.set()
        most, left, drained = backlog.result()
    assert set(done["statuses"]) <= {"200", "201"}, (done["statuses"], done["first"])
    own, theirs = cpu_seconds(pids) - own, postgres_cpu(settings) - theirs
    into.rate.append(done["done"] / done["seconds"])
    into.p50.append(statistics.median(done["latencies"]))
    into.cpu.append((own + theirs) / done["done"] * 1e3)
    into.postgres.append(theirs / done["done"] * 1e3)
    into.most_waiting, into.left_waiting = max(into.most_waiting, most), max(into.left_waiting, left)
    into.drained = max(into.drained, drained)
    body: dict[str, Any] = json.loads(done["first"])
    return body


def _watched_backlog(settings: Settings, ended: Event) -> tuple[int, int, float]:
    """Return how many events waited at most, how many at the end of the load, and how many seconds later none did."""
    most = 0
    while not ended.wait(0.25):
        most = max(most, _waiting(settings))
    left, end = _waiting(settings), time.perf_counter()
    while _waiting(settings):
        assert time.perf_counter() - end < 30
        time.sleep(0.02)
    return max(most, left), left, time.perf_counter() - end


def _waiting(settings: Settings) -> int:
    with database.autocommit(settings) as connection:
        return waiting(connection)


def measure(settings: Settings) -> None:
    """Print the figures."""
    assert settings.database_url is not None
    assert settings.signer_key_b64 is not None
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url) as connection:
        connection.execute(service_minimal.TABLE)
        connection.execute("GRANT ALL ON bench_rows TO PUBLIC")
    ours = {
        "AI_INFRA_DATABASE_URL": url,
        "AI_INFRA_HOME": str(settings.home),
        "AI_INFRA_ARTIFACT_ROOT": str(settings.artifact_root),
        "AI_INFRA_SIGNER_KEY_B64": settings.signer_key_b64.get_secret_value(),
        "AI_INFRA_SIGNER_ID": "bench",
        "AI_INFRA_ALLOW_DEBUG_TOKEN": "true",
        "AI_INFRA_DEBUG_TOKEN": TOKEN,
        "AI_INFRA_RATE_PER_SECOND": "0",
        "AI_INFRA_LOG_LEVEL": "warning",
    }
    minimal_command = [sys.executable, *_MINIMAL, "tests.benchmarks.service_minimal:app"]
    with (
        served(minimal_command, "/docs", {"BENCH_DATABASE_URL": url}, settings.home / "minimal.log") as minimal,
        served(_SERVE, "/readyz", ours, settings.home / "ours.log") as service,
        load_client() as client,
    ):
        found = _in_turns(settings, client, minimal, service)
        memory, processes = memory_mib(family(service.process.pid)), len(family(service.process.pid))
    _print(found)
    print(f"memory of {processes} processes after load: {memory:.0f} MiB / 300: {memory / 300:.2f}")  # noqa: T201
    print(f"ready after {service.ready_seconds:.2f} s / 3: {service.ready_seconds / 3:.2f}; minimal {minimal.ready_seconds:.2f} s")  # noqa: T201


def _in_turns(settings: Settings, client: Popen[str], minimal: Served, service: Served) -> dict[str, Figures]:
    found = {name: Figures() for name in _NAMES}
    inserts, plain, keyed = rows(), registrations(settings, with_key=False), registrations(settings, with_key=True)
    for number in range(ROUNDS + 1):
        into = found if number else {name: Figures() for name in _NAMES}  # the first round warms both up
        row = measured(settings, client, minimal, inserts, 1, into["insert 1"])
        artifact = measured(settings, client, service, plain, 1, into["register 1"])
        measured(settings, client, minimal, inserts, MANY, into["insert 32"])
        measured(settings, client, service, plain, MANY, into["register 32"])
        measured(settings, client, service, keyed, MANY, into["register 32, with keys"])
        measured(settings, client, minimal, request("GET", f"/rows/{row['id']}"), MANY, into["read 32"])
        measured(settings, client, service, request("GET", f"/ai-infra/models/{artifact['id']}", **_AS_DEBUG), MANY, into["detail 32"])
    return found


def _print(found: dict[str, Figures]) -> None:
    rate, p50, cpu, postgres = (
        {name: statistics.median(getattr(figures, part)) for name, figures in found.items()} for part in ("rate", "p50", "cpu", "postgres")
    )
    for name in _NAMES:
        print(f"{name:<24}{rate[name]:6.0f}/s   p50 {p50[name]:6.2f} ms   CPU {cpu[name]:5.2f} ms (Postgres {postgres[name]:.2f})")  # noqa: T201
    load = found["register 32"]
    print(f"register, CPU / 5 ms: {cpu['register 32'] / 5:.2f}")  # noqa: T201
    print(f"register / insert, throughput at 32: {rate['register 32'] / rate['insert 32']:.2f} (least 0.45)")  # noqa: T201
    print(f"    events waiting: at most {load.most_waiting}, {load.left_waiting} at the end, none {load.drained:.2f} s later")  # noqa: T201
    print(f"register / insert, p50 at 1: {p50['register 1'] / p50['insert 1']:.2f} (most 3)")  # noqa: T201
    print(f"detail / one-row read, throughput at 32: {rate['detail 32'] / rate['read 32']:.2f} (least 0.6)")  # noqa: T201


if __name__ == "__main__":
    with durable() as made_settings:
        measure(made_settings)
