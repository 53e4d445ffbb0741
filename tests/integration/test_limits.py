"""How much, how fast and how often: over real sockets, and as properties of the count itself."""

import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as checked
from hypothesis import strategies as st

from aiinfra_core.http_api import limits
from aiinfra_core.settings import Settings
from tests.simulators.oidc import AUDIENCE, Issuer, issuing
from tests.simulators.service import AS_DEBUG, calling
from tests.simulators.who_asks import NO_TLS, asking

JSON = {"Content-Type": "application/json"}


def debugging(**more: Any) -> Settings:
    given = {"allow_debug_token": True, "debug_token": AS_DEBUG["X-Debug-Token"], "failed_proofs_per_minute": 1000}
    return Settings(**(given | more))


def post(url: str, body: Any, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/who", content=body, headers=AS_DEBUG | JSON | headers, verify=NO_TLS)


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{url}/who", headers=headers, verify=NO_TLS)


def pieces(*sizes: int) -> Iterator[bytes]:
    """Give a body without a length, which is sent in chunks."""
    for size in sizes:
        yield b"x" * size


def raw(url: str, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send bytes as they are and return all that comes back until the service closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
        except OSError:  # it was closed while we were still sending, as it should be
            pass
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_a_body_may_be_as_large_as_allowed_and_no_larger_however_it_is_sent() -> None:
    with asking(debugging(max_body_bytes=1000)) as url:
        assert post(url, b"x" * 1000).json()["body"] == 1000
        assert post(url, pieces(400, 600)).json()["body"] == 1000
        assert post(url, pieces()).json()["body"] == 0
        for body in (b"x" * 1001, pieces(400, 601), pieces(2_000_000)):
            answer = post(url, body)
            assert (answer.status_code, answer.headers["Connection"]) == (413, "close")
            assert "larger than 1000 bytes" in answer.json()["error"]


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent() -> None:
    with asking(debugging()) as url:
        head = b"POST /who HTTP/1.1\r\nHost: a\r\nX-Debug-Token: %b\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
        answer = raw(url, head % AS_DEBUG["X-Debug-Token"].encode())
        assert answer.startswith(b"HTTP/1.1 413")


def test_a_body_must_arrive_in_time_and_its_connection_is_closed() -> None:
    head = b"POST /who HTTP/1.1\r\nHost: a\r\nX-Debug-Token: %b\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with asking(debugging(body_seconds=0.4)) as url:
        since = time.monotonic()
        answer = raw(url, head % AS_DEBUG["X-Debug-Token"].encode(), *([b" "] * 50), pause=0.05)
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"connection: close" in answer
        assert time.monotonic() - since < 10


def test_nobody_is_waited_for() -> None:
    with asking(debugging(body_seconds=60)) as url:
        for start in (b"POST /who", b"GET /who", b"POST /livez", b"GET /livez"):
            for length in (b"Content-Length: 100", b"Transfer-Encoding: chunked"):
                answer = raw(url, start + b" HTTP/1.1\r\nHost: a\r\n" + length + b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 401" if start == b"POST /who" else b"HTTP/1.1 200"), start
                assert b"connection: close" in answer, start


def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing_behind() -> None:
    head = b"POST /who HTTP/1.1\r\nHost: a\r\nX-Debug-Token: %b\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\nhalf"
    with asking(debugging()) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(head % AS_DEBUG["X-Debug-Token"].encode())
        assert post(url, b"{}").status_code == 200


def test_a_body_that_is_not_said_to_be_json_is_refused() -> None:
    with asking(debugging()) as url:
        for kind in ("text/plain", "multipart/form-data", "application/jsonx", "json", "application/x-www-form-urlencoded"):
            assert post(url, b"{}", **{"Content-Type": kind}).status_code == 415, kind
        assert httpx.post(f"{url}/who", content=b"{}", headers=AS_DEBUG, verify=NO_TLS).status_code == 415


def test_json_may_be_named_in_every_right_way_and_no_body_needs_no_name() -> None:
    with asking(debugging()) as url:
        for kind in ("application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"):
            assert post(url, b"{}", **{"Content-Type": kind}).status_code == 200, kind
        assert httpx.post(f"{url}/who", headers=AS_DEBUG, verify=NO_TLS).status_code == 200


@pytest.mark.parametrize(
    "text", ["[" * 500_000, '{"a":' * 100_000, json.dumps({"codeRef": [[[1]]] * 3})[:-1] + ',"hyperparams":' + '{"a":' * 60]
)
def test_json_that_is_nested_without_end_is_refused_and_crashes_nothing(settings: Settings, text: str) -> None:
    served = settings.model_copy(update={"allow_debug_token": True, "debug_token": debugging().debug_token})
    with calling(served) as service:
        answer = service.post("/ai-infra/train", content=text.encode(), headers=JSON)
        assert answer.status_code == 400
        assert service.get("/ai-infra/models").status_code == 200


def test_hyperparameters_may_be_nested_sixteen_levels_and_no_deeper(settings: Settings) -> None:
    served = settings.model_copy(update={"allow_debug_token": True, "debug_token": debugging().debug_token})

    def nested(levels: int) -> Any:
        return {} if levels == 1 else {"a": nested(levels - 1)}

    body = {"codeRef": "git+https://example.com/a.git@" + "a" * 40, "containerDigest": "sha256:" + "b" * 64, "datasetRefs": []}
    with calling(served) as service:
        assert service.post("/ai-infra/train", json=body | {"hyperparams": nested(16)}).status_code == 201
        refused = service.post("/ai-infra/train", json=body | {"hyperparams": nested(17)})
        assert (refused.status_code, "nested deeper than 16" in refused.json()["error"]) == (400, True)


def test_who_asks_too_often_is_told_how_long_to_wait_and_others_are_not_kept_from_asking() -> None:
    with asking(debugging(rate_per_second=2, rate_burst=5)) as url:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: get(url, **AS_DEBUG), range(12)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert 5 <= 12 - len(refused) <= 8
        assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
        assert get(url, **AS_DEBUG, **{"X-Debug-Actor": "alice"}).status_code == 200
        assert get(url).status_code == 200, "nobody is counted by address, not as the debug actor"
        time.sleep(1)
        assert get(url, **AS_DEBUG).status_code == 200


def test_nobody_is_counted_by_the_address_that_a_trusted_proxy_tells() -> None:
    with asking(debugging(rate_per_second=0.1, rate_burst=1, trusted_proxies=("127.0.0.1",))) as url:
        assert get(url, **{"X-Forwarded-For": "198.51.100.1"}).json()["address"] == "198.51.100.1"
        assert get(url, **{"X-Forwarded-For": "198.51.100.1"}).status_code == 429
        assert get(url, **{"X-Forwarded-For": "10.9.9.9, 198.51.100.1"}).status_code == 429, "what a client adds does not count"
        assert get(url, **{"X-Forwarded-For": "198.51.100.2"}).status_code == 200
    with asking(debugging(rate_per_second=0.1, rate_burst=1)) as url:
        assert get(url, **{"X-Forwarded-For": "198.51.100.1"}).json()["address"] == "127.0.0.1"
        assert get(url, **{"X-Forwarded-For": "198.51.100.2"}).status_code == 429


def test_without_a_rate_there_is_no_limit() -> None:
    with asking(debugging(rate_per_second=0, rate_burst=1)) as url:
        assert {get(url, **AS_DEBUG).status_code for _ in range(20)} == {200}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as started:
        yield started


def test_after_some_failures_an_address_is_heard_no_more_but_those_known_before_and_a_debug_token_nobody_guesses(issuer: Issuer) -> None:
    served = debugging(failed_proofs_per_minute=5, oidc_issuer=issuer.url, oidc_audience=(AUDIENCE,))
    known, later = ({"Authorization": f"Bearer {issuer.token(sub=name)}"} for name in ("known", "later"))
    with asking(served) as url:
        assert get(url, **known).status_code == 200
        assert [get(url, **{"X-Debug-Token": f"guess-{number}"}).status_code for number in range(7)] == [401] * 5 + [429] * 2
        assert get(url, **AS_DEBUG).json()["actor"] == "debug"
        assert get(url, **AS_DEBUG, Authorization="Bearer a.b.c").status_code == 401, "two proofs"
        assert get(url, **later).status_code == 429
        assert get(url, **known).status_code == 200
        assert get(url).status_code == 200
        assert 1 <= int(get(url, **later).headers["Retry-After"]) <= 12


def test_guessing_a_short_debug_token_ends_after_some_failures_even_with_the_right_one() -> None:
    short = {"X-Debug-Token": "short"}
    with asking(debugging(failed_proofs_per_minute=5, debug_token=short["X-Debug-Token"])) as url:
        assert [get(url, **{"X-Debug-Token": f"guess-{number}"}).status_code for number in range(6)] == [401] * 5 + [429]
        assert get(url, **short).status_code == 429


def test_every_answer_says_that_its_type_is_meant_and_that_it_may_not_be_kept() -> None:
    with asking(debugging(max_body_bytes=10)) as url:
        private = [
            get(url, **AS_DEBUG),
            get(url, **{"X-Debug-Token": "wrong"}),
            post(url, b"x" * 11),
            httpx.get(f"{url}/none", verify=NO_TLS),
        ]
        assert [answer.status_code for answer in private] == [200, 401, 413, 404]
        assert {answer.headers["Cache-Control"] for answer in private} == {"no-store"}
        public = get(url)
        assert "Cache-Control" not in public.headers
        assert {answer.headers["X-Content-Type-Options"] for answer in (*private, public)} == {"nosniff"}


def test_an_answer_that_can_be_asked_again_by_its_tag_may_be_kept_by_who_asked(settings: Settings) -> None:
    served = settings.model_copy(update={"allow_debug_token": True, "debug_token": debugging().debug_token})
    with calling(served) as service:
        assert service.get("/ai-infra/models").headers["Cache-Control"] in ("no-store", "private, no-cache")


class Clock:
    """A clock that the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@checked(deadline=None)
@given(st.lists(st.just(0.0) | st.floats(0, 3), min_size=1, max_size=60), st.floats(0.1, 5), st.integers(1, 8))
def test_in_no_stretch_of_time_more_is_allowed_than_burst_and_rate_give_and_never_less(
    pauses: list[float], per_second: float, burst: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock, rates = Clock(patch), limits.Rates(per_second, burst)
        allowed: list[float] = []
        for pause in pauses:
            clock.now += pause
            before = [at for at in allowed if at > clock.now - burst / per_second]
            if not rates.wait("key"):
                rates.take("key")
                allowed.append(clock.now)
            else:
                assert before, "who has not asked for a whole burst's time is not refused"
        for position, since in enumerate(allowed):
            for count, until in enumerate(allowed[position:], start=1):
                assert count <= burst + per_second * (until - since) + 1e-4


@checked(deadline=None)
@given(st.floats(0.1, 50), st.integers(1, 20))
def test_who_waits_as_long_as_they_are_told_is_allowed(per_second: float, burst: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock, rates = Clock(patch), limits.Rates(per_second, burst)
        for _ in range(burst):
            assert rates.wait("key") == 0
            rates.take("key")
        assert 0 < rates.wait("key") <= 1 / per_second + 1e-9
        clock.now += rates.wait("key") + 1e-6
        assert rates.wait("key") == 0
        assert rates.wait("another") == 0


def test_who_was_away_for_long_has_saved_up_no_more_than_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rates = Clock(monkeypatch), limits.Rates(1, 3)
    rates.take("key")
    clock.now += 1000
    for _ in range(3):
        assert rates.wait("key") == 0
        rates.take("key")
    assert rates.wait("key") > 0


def test_however_many_addresses_come_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MAX_KNOWN", 10)
    rates = limits.Rates(1, 1)
    for number in range(1000):
        rates.take("often")
        rates.take(f"address {number}")
    assert len(rates._paid_off) == 10
    assert rates.wait("often") > 0


def test_no_message_of_a_limit_holds_a_secret_or_a_place_in_the_code() -> None:
    with asking(debugging(failed_proofs_per_minute=1)) as url:
        answers = [get(url, **{"X-Debug-Token": "a-wrong-guess"}), get(url, **{"X-Debug-Token": "a-wrong-guess-too"})]
        assert [answer.status_code for answer in answers] == [401, 429]
        assert not any(re.search(r"a-wrong-guess|a-debug-token|Traceback|\.py", answer.text) for answer in answers)
