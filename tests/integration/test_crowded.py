"""Large artifacts that many want to have read hold up nobody who asks for something else; who has to wait is told so at once."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from aiinfra_core.settings import Settings
from tests.simulators.http_story import MODELS, REGISTER, is_problem, registered, stored
from tests.simulators.served import Served, environment, started
from tests.simulators.service import AS_DEBUG

LARGE = 2**30
AT_ONCE = 40
Ask = Callable[[httpx.Client, str], httpx.Response]


@pytest.fixture
def served(settings: Settings, tmp_path: Path) -> Iterator[Served]:
    """Start the service with one worker, so that all requests share its threads."""
    with started(tmp_path / "served", environment(settings), "--workers", "1") as service:
        yield service


@pytest.fixture
def large(served: Served, settings: Settings, tmp_path: Path) -> tuple[str, str]:
    """Register a version whose bytes were then replaced by a large sparse file; give its id and its URI."""
    body = stored(settings, tmp_path)
    with served.client() as api:
        artifact = registered(api, body)
    place = Path(unquote(urlsplit(body["artifactUri"]).path))
    place.chmod(0o644)
    os.truncate(place, LARGE)
    return artifact, str(body["artifactUri"])


def _crowd(served: Served, pool: ThreadPoolExecutor, ask: Ask) -> list[Future[httpx.Response]]:
    """Let two people ask, each half of the times, all at the same moment; the actor is in the request's header."""
    start = threading.Barrier(AT_ONCE + 1)

    def one(number: int) -> httpx.Response:
        headers = {**AS_DEBUG, "X-Debug-Actor": f"person-{number % 2}"}
        with httpx.Client(base_url=served.url, headers=headers, timeout=60) as api:
            api.get("/livez")
            start.wait(60)
            return ask(api, f"r{number}")

    asked = [pool.submit(one, number) for number in range(AT_ONCE)]
    start.wait(60)
    return asked


def _slowest_read(served: Served) -> float:
    slowest = 0.0
    with served.client() as api:
        for _ in range(5):
            began = time.monotonic()
            assert api.get(MODELS).status_code == 200
            slowest = max(slowest, time.monotonic() - began)
    return slowest


def test_one_is_verified_at_a_time_and_all_others_are_told_at_once(served: Served, large: tuple[str, str]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = _crowd(served, pool, lambda api, _: api.get(f"{MODELS}/{large[0]}/verify"))
        assert _slowest_read(served) < 2
        assert not all(one.done() for one in asked), "the artifact was too small to be still read"
        answers = [one.result() for one in asked]
    (done,) = [answer for answer in answers if answer.status_code == 200]
    assert [check["name"] for check in done.json()["checks"] if not check["passed"]] == ["bytes"]
    own = done.request.headers["X-Debug-Actor"]
    for answer in answers:
        if answer is not done and answer.request.headers["X-Debug-Actor"] == own:
            assert is_problem(answer, 429, "Another verification of yours")
        elif answer is not done:
            assert is_problem(answer, 503, "Others are being verified")
            assert answer.json()["part"] == "verification"
        assert answer is done or answer.headers["Retry-After"] == "5"


def test_registrations_that_wait_leave_half_of_the_threads_to_others(served: Served, large: tuple[str, str], settings: Settings) -> None:
    os.truncate(unquote(urlsplit(large[1]).path), LARGE // 2)  # a dozen are read, and none is done before all have asked

    def ask(api: httpx.Client, name: str) -> httpx.Response:
        body = {"model": "rainfall", "artifactUri": large[1], "checksum": "0" * 64}
        return api.post(REGISTER, json=body, headers={"Idempotency-Key": name})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = _crowd(served, pool, ask)
        assert _slowest_read(served) < 2
        assert not all(one.done() for one in asked), "the artifact was too small to be still read"
        answers = [one.result() for one in asked]
    codes = Counter(answer.status_code for answer in answers)
    assert set(codes) == {422, 503}, codes
    assert codes[422] < settings.worker_threads // 2
    for answer in answers:
        if answer.status_code == 503:
            assert is_problem(answer, 503, "wait for artifacts to be read")
            assert (answer.json()["part"], answer.headers["Retry-After"]) == ("artifact_store", "5")
