"""A worker, the whole service and the database are killed under load: what was answered is there, and nothing half-done is seen.

Every caller gives each of its requests a key and sends it again until it is answered, as the client does. In the end all of them are sent
once more, and must be answered with the same ids.
"""

import os
import random
import signal
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from aiinfra_core import artifact_store, database, verifying
from aiinfra_core.audit_log import keeping_up
from aiinfra_core.embedded import postgres
from aiinfra_core.log_tables import audit_events, audit_outbox
from aiinfra_core.migrate import grant_roles, migrate
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.tables import model_artifacts, model_promotions, training_jobs
from tests import factories
from tests.simulators.http_story import MODELS, PROMOTE, REGISTER, TRAIN, stored
from tests.simulators.served import Served, environment, started, wait_until
from tests.simulators.service import AS_DEBUG

CALLERS = 4
EXPECTED_STATUS = {TRAIN: 201, REGISTER: 201, PROMOTE: 200}
MAY_COME_AGAIN = {409, 429, 500, 503}  # in flight, too often, or a part is not there


@dataclass
class Told:
    """What callers sent under which key, and what they were answered, in the order of the answers."""

    answers: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    statuses: Counter[int | str] = field(default_factory=Counter)

    def keep(self, key: str, path: str, body: dict[str, Any], answer: dict[str, Any]) -> None:
        with self.lock:
            self.answers[key] = (path, body, answer)

    def count(self, status: int | str) -> None:
        with self.lock:
            self.statuses[status] += 1

    def of(self, path: str) -> list[dict[str, Any]]:
        return [answer for asked, _, answer in self.answers.values() if asked == path]


@pytest.fixture
def own_place(tmp_path: Path) -> Iterator[Settings]:
    """Give settings with a PostgreSQL of this test's own, which writes through to the disk and may be killed."""
    home = Path(tempfile.mkdtemp(prefix="aiinfra-killed-"))
    try:
        url = postgres.ensure_running(home)
        migrate(url)
        grant_roles(url)
        yield Settings(
            AI_INFRA_DATABASE_URL=url,
            home=home,
            artifact_root=(tmp_path / "artifacts").as_uri(),
            signer_key_b64=local.generate(),
            signer_id="test",
            checkpoint_seconds=1,
        )
    finally:
        database.close_connections()
        postgres.stop(home)


class Load:
    """Callers that train, register and promote until told to stop, each request under a key of its own."""

    def __init__(self, settings: Settings, folder: Path, told: Told) -> None:
        self.settings, self.folder, self.told = settings, folder, told
        self.url = ""
        self.stop = threading.Event()
        self.bytes = [stored(settings, folder, content=f"weights-{number}") for number in range(3)]
        self.callers = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]
        self.broken: list[BaseException] = []

    def _call(self, number: int) -> None:
        try:
            for turn in range(10_000):
                if self.stop.is_set():
                    return
                self._one_story(f"{number}-{turn}", random.Random(f"{number} {turn}"))  # noqa: S311
        except BaseException as error:  # noqa: BLE001 - the test fails with it
            self.broken.append(error)

    def _one_story(self, name: str, chance: random.Random) -> None:
        spec = {
            "codeRef": f"https://git.example.org/rain@{'a' * 40}",
            "containerDigest": factories.CONTAINER,
            "hyperparams": {"name": name},
        }
        self.ask(f"train-{name}", TRAIN, spec)
        body = chance.choice(self.bytes) | {"model": f"model-{chance.randrange(2)}", "metadata": {"name": name}}
        artifact = self.ask(f"register-{name}", REGISTER, body)
        if artifact is not None:
            evaluation = {"quality": chance.choice((0.5, 0.95)), "name": float(len(name))}
            self.ask(f"promote-{name}", PROMOTE, {"artifactId": artifact["id"], "environment": "staging", "evaluation": evaluation})

    def ask(self, key: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Send a request until it is answered, or the load is over."""
        while not self.stop.is_set():
            try:
                answer = httpx.post(self.url + path, json=body, headers=AS_DEBUG | {"Idempotency-Key": key}, timeout=20)
            except httpx.TransportError as error:
                self.told.count(type(error).__name__)
                self.stop.wait(0.05)
                continue
            self.told.count(answer.status_code)
            if answer.status_code == EXPECTED_STATUS[path]:
                self.told.keep(key, path, body, answer.json())
                return dict(answer.json())
            assert answer.status_code in MAY_COME_AGAIN, (path, answer.status_code, answer.text)
            self.stop.wait(0.05)
        return None

    @contextmanager
    def running(self, served: Served) -> Iterator[None]:
        self.url = served.url
        for caller in self.callers:
            caller.start()
        try:
            yield
        finally:
            self.stop.set()
            for caller in self.callers:
                caller.join()

    def more(self, answers: int) -> None:
        """Wait for so many more answers."""
        before = len(self.told.answers)
        wait_until(lambda: len(self.told.answers) >= before + answers or bool(self.broken))
        assert self.broken == []


def _kill_a_worker(served: Served) -> None:
    killed = random.choice(served.workers)  # noqa: S311
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in served.workers and len(served.workers) == 2, served)


def _kill_the_database(settings: Settings) -> None:
    os.kill(int((settings.home / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0]), signal.SIGKILL)
    wait_until(lambda: not postgres.is_running(settings.home))
    postgres.ensure_running(settings.home)


def _lived_through(settings: Settings, folder: Path, rounds: int, each: int) -> Told:
    told = Told()
    load = Load(settings, folder, told)
    variables = environment(settings, AI_INFRA_CHECKPOINT_SECONDS="1", AI_INFRA_LOG_LEVEL="warning")
    with started(folder / "first", variables) as first, load.running(first):
        for _ in range(rounds):
            load.more(each)
            _kill_a_worker(first)
            load.more(each)
            _kill_the_database(settings)
            load.more(each)
        first.kill()
        wait_until(lambda: told.statuses["ConnectError"] > 0)
        with started(folder / "second", variables) as second:
            load.url = second.url
            load.more(each)
            load.stop.set()
            _are_answered_the_same(second, told)
            assert second.end() == 0
    assert load.broken == []
    return told


def _are_answered_the_same(served: Served, told: Told) -> None:
    with served.client() as client:
        for key, (path, body, answer) in list(told.answers.items()):
            again = client.post(path, json=body, headers={"Idempotency-Key": key})
            assert again.status_code == EXPECTED_STATUS[path], again.text
            assert again.json()["id"] == answer["id"]
        for artifact in told.of(REGISTER)[:20]:
            assert client.get(f"{MODELS}/{artifact['id']}").json()["artifact"]["checksum"] == artifact["checksum"]


def _nothing_is_lost_or_half_done(settings: Settings, told: Told) -> None:
    keeping_up.publish(settings)
    with database.snapshot(settings) as tx:
        rows = {table.name: list(tx.execute(select(table)).mappings()) for table in (training_jobs, model_artifacts, model_promotions)}
        events = [dict(row) for row in tx.execute(select(audit_events.c.event_type, audit_events.c.payload)).mappings()]
        assert tx.execute(select(audit_outbox)).all() == []
    ids = {name: {str(row["id"]) for row in found} for name, found in rows.items()}
    assert {answer["id"] for answer in told.of(TRAIN)} <= ids["training_jobs"]
    assert {answer["id"] for answer in told.of(REGISTER)} <= ids["model_artifacts"]
    assert {answer["id"] for answer in told.of(PROMOTE)} <= ids["model_promotions"]

    versions: dict[str, list[int]] = defaultdict(list)
    for row in rows["model_artifacts"]:
        versions[row["model"]].append(row["version"])
    assert {model: sorted(found) for model, found in versions.items()} == {
        model: list(range(1, len(found) + 1)) for model, found in versions.items()
    }

    counted = Counter(event["event_type"] for event in events)
    assert counted["artifact.registered"] == len(rows["model_artifacts"])
    assert counted["training.requested"] == len(rows["training_jobs"])
    assert counted["promotion.requested"] == len(rows["model_promotions"])
    by_status = Counter(row["status"] for row in rows["model_promotions"])
    assert counted["promotion.applied"] >= by_status["applied"]
    assert counted["promotion.rejected"] == by_status["rejected"]

    statuses = {str(row["id"]): row["status"] for row in rows["model_promotions"]}
    for answer in told.of(PROMOTE):
        assert answer["status"] in ("applied", "rejected", "superseded")
        assert statuses[answer["id"]] in (answer["status"], "superseded")

    history = verifying.verify_history(settings)
    assert (history.broken, history.findings) == (0, [])
    assert history.events == len(events)
    for row in rows["model_artifacts"][:3]:
        _, steps = verifying.verify_model(settings, str(row["id"]), history)
        assert [step for step in steps if not step.passed] == []
        artifact_store.verify(artifact_store.location(settings), row["artifact_uri"], row["checksum"])


def test_nothing_acknowledged_is_lost_when_a_worker_the_database_and_the_service_are_killed_under_load(
    own_place: Settings, tmp_path: Path
) -> None:
    told = _lived_through(own_place, tmp_path, rounds=1, each=12)
    assert {path for path, _, _ in told.answers.values()} == {TRAIN, REGISTER, PROMOTE}
    assert told.statuses["ConnectError"] + told.statuses["ReadError"] + told.statuses["RemoteProtocolError"] > 0
    _nothing_is_lost_or_half_done(own_place, told)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_over_many_kills(own_place: Settings, tmp_path: Path) -> None:
    told = _lived_through(own_place, tmp_path, rounds=5, each=40)
    _nothing_is_lost_or_half_done(own_place, told)
