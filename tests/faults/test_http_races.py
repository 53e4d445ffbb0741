"""64 clients at once against two worker processes: one row, gap-free versions, one winner, documented answers, an intact history."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import ColumnElement, Table, func, select

from aiinfra_core import database, verifying
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.tables import environment_pointers, model_artifacts, model_promotions, training_jobs
from tests.simulators import http_story
from tests.simulators.http_story import PROMOTE, REGISTER, TRAIN, open_to_debug, registered
from tests.simulators.postgres import made_database
from tests.simulators.served import environment, started
from tests.simulators.service import AS_DEBUG

CLIENTS = 64
YES = {"quality": 0.9}
_OF_THE_DATABASE = re.compile(
    r"psycopg|sqlalchemy|postgres|select |insert |update |duplicate key|deadlock|constraint|traceback", re.IGNORECASE
)
Ask = Callable[[httpx.Client, int], httpx.Response]


@pytest.fixture(scope="module")
def made(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a database and an artifact root for all tests of this file; each has a model of its own."""
    folder = tmp_path_factory.mktemp("races")
    with made_database(postgres_server, migrated_template) as url:
        yield open_to_debug(
            Settings(
                AI_INFRA_DATABASE_URL=url,
                home=folder / "home",
                artifact_root=(folder / "artifacts").as_uri(),
                signer_key_b64="wQ" + "A" * 41 + "=",
                signer_id="test",
            )
        )


@pytest.fixture(scope="module")
def address(made: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("served"), environment(made), "--workers", "2") as served:
        assert len(served.workers) == 2
        yield served.url


@pytest.fixture
def api(address: str) -> Iterator[httpx.Client]:
    with _client(address) as client:
        yield client


def _client(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, headers=AS_DEBUG, timeout=60)


def _race(address: str, ask: Ask) -> list[httpx.Response]:
    """Let all clients connect, ask at the same moment, and return the answers; none may tell of the database."""
    start = threading.Barrier(CLIENTS)

    def one(number: int) -> httpx.Response:
        with _client(address) as client:
            client.get("/livez")
            start.wait(60)
            return ask(client, number)

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(one, range(CLIENTS)))
    for answer in answers:
        assert answer.is_success or not _OF_THE_DATABASE.search(answer.text), answer.text
    return answers


def _codes(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def _ids(answers: list[httpx.Response]) -> set[str]:
    return {answer.json()["id"] for answer in answers if answer.is_success}


def _stored(settings: Settings, folder: Path, content: str, model: str) -> dict[str, Any]:
    return http_story.stored(settings, folder, f"{model}-{content}", model)


def _count(settings: Settings, table: Table, where: ColumnElement[bool]) -> int:
    with database.transaction(settings) as tx:
        return int(tx.execute(select(func.count()).select_from(table).where(where)).scalar_one())


def _history_tells(settings: Settings, event_type: str, subjects: set[str]) -> bool:
    """See that the history verifies and has exactly one event of this type of each of these, and that nothing waits."""
    keep_up(settings)
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)
    with database.transaction(settings) as tx:
        subject = func.json_extract_path_text(audit_events.c.payload, "subject")
        told = tx.execute(select(subject).where(audit_events.c.event_type == event_type, subject.in_(subjects))).scalars()
        return sorted(told) == sorted(subjects)


def test_64_clients_that_register_the_same_artifact_all_get_the_one_that_is_kept(address: str, made: Settings, tmp_path: Path) -> None:
    body = _stored(made, tmp_path, "weights", "same")
    answers = _race(address, lambda client, _: client.post(REGISTER, json=body))
    assert _codes(answers) == {201: CLIENTS}
    assert len({answer.content for answer in answers}) == 1
    assert _count(made, model_artifacts, model_artifacts.c.model == "same") == 1
    assert _history_tells(made, "artifact.registered", _ids(answers))


def test_64_clients_that_register_versions_of_one_model_get_versions_without_a_gap(address: str, made: Settings, tmp_path: Path) -> None:
    bodies = [_stored(made, tmp_path, str(number), "versions") for number in range(CLIENTS)]
    answers = _race(address, lambda client, number: client.post(REGISTER, json=bodies[number]))
    assert _codes(answers) == {201: CLIENTS}
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, CLIENTS + 1))
    assert all(answer.json()["checksum"] == body["checksum"] for answer, body in zip(answers, bodies, strict=True))
    assert _history_tells(made, "artifact.registered", _ids(answers))


def test_64_clients_that_promote_two_artifacts_to_one_environment_have_one_winner(
    address: str, api: httpx.Client, made: Settings, tmp_path: Path
) -> None:
    answers = _promotions(address, _rivals(api, made, tmp_path, "winner"), {"If-Match": '"0"'})
    assert set(_codes(answers)) <= {200, 412}
    told = {answer.json()["id"]: answer.json() for answer in answers if answer.status_code == 200}
    applied = {id_ for id_, it in told.items() if it["status"] == "applied"}
    assert len(applied) == 1
    assert {it["status"] for it in told.values()} <= {"applied", "superseded"}, [it["reason"] for it in told.values()]
    assert _current(made, "winner") == (1, *applied)
    assert _count(made, model_promotions, model_promotions.c.model == "winner") == len(told) <= 2
    assert _history_tells(made, "promotion.requested", set(told))
    assert _history_tells(made, "promotion.applied", applied)


def test_64_clients_that_promote_whatever_is_current_leave_one_version_current(
    address: str, api: httpx.Client, made: Settings, tmp_path: Path
) -> None:
    answers = _promotions(address, _rivals(api, made, tmp_path, "current"), {})
    assert _codes(answers) == {200: CLIENTS}
    told = {answer.json()["id"]: answer.json() for answer in answers}
    assert {it["status"] for it in told.values()} <= {"applied", "superseded"}, [it["reason"] for it in told.values()]
    applied = {it["sequence"]: id_ for id_, it in told.items() if it["status"] == "applied"}
    assert sorted(applied) == list(range(1, len(applied) + 1))
    assert _current(made, "current") == (len(applied), applied[len(applied)])
    assert _history_tells(made, "promotion.applied", set(applied.values()))


def _rivals(api: httpx.Client, settings: Settings, folder: Path, model: str) -> list[str]:
    return [registered(api, _stored(settings, folder, content, model)) for content in ("one", "two")]


def _promotions(address: str, rivals: list[str], headers: dict[str, str]) -> list[httpx.Response]:
    def ask(client: httpx.Client, number: int) -> httpx.Response:
        body = {"artifactId": rivals[number % 2], "environment": "prod", "evaluation": YES}
        return client.post(PROMOTE, json=body, headers=headers)

    return _race(address, ask)


def _current(settings: Settings, model: str) -> tuple[int, str]:
    with database.transaction(settings) as tx:
        row = tx.execute(select(environment_pointers).where(environment_pointers.c.model == model)).mappings().one()
    return row["sequence"], str(row["promotion_id"])


def test_64_clients_with_the_same_key_make_one_job(address: str, api: httpx.Client, made: Settings) -> None:
    body = {"codeRef": f"https://git.example.org/keyed@{'3f' * 20}", "containerDigest": f"sha256:{'c0' * 32}"}
    key = {"Idempotency-Key": "one"}
    answers = _race(address, lambda client, _: client.post(TRAIN, json=body, headers=key))
    assert set(_codes(answers)) <= {201, 409}
    afterwards = api.post(TRAIN, json=body, headers=key)
    assert {answer.content for answer in answers if answer.status_code == 201} == {afterwards.content}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"in_flight"}
    assert _count(made, training_jobs, training_jobs.c.model == "keyed") == 1
    assert _history_tells(made, "training.requested", _ids(answers))
