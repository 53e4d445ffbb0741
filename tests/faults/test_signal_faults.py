"""A fault between us and who knows how a challenger does: a reading that is not ok and says why, in time; afterwards all is as before."""

import resource
import threading
import time
from collections.abc import Iterator

import pytest

from aiinfra_core import signals
from aiinfra_core.domain.rollout import Heard, Reading
from aiinfra_core.domain.rollout_spec import Query, SignalKind, SignalSpec, SourceKind
from aiinfra_core.settings import Settings
from tests.simulators import fault_proxy
from tests.simulators.asked_signals import ERRORS, at, rollout, served
from tests.simulators.fault_proxy import Fault, FaultProxy, between
from tests.simulators.faulty_database import Then, faulty
from tests.simulators.prometheus import answering, matrix, simulated
from tests.simulators.scripted_server import Behaviour, answers, scripted_server, unused_url

SECONDS = 0.4
SLACK_SECONDS = 4.0  # of a busy machine
SQL = SignalSpec(
    name="quality",
    kind=SignalKind.QUALITY,
    alpha=0.003,
    source="labels",
    query=Query(
        kind=SourceKind.SQL, statement="SELECT arm, 900 AS units, 9 AS bad FROM unnest(ARRAY['champion', 'challenger']) AS arms (arm)"
    ),
)
FAULTS: dict[str, tuple[Fault, Heard, str]] = {
    "hangs": (fault_proxy.hangs, Heard.UNREACHABLE, "No whole answer"),
    "resets": (fault_proxy.resets, Heard.UNREACHABLE, "failed"),
    "resets half way": (fault_proxy.resets_half_way, Heard.UNREACHABLE, "failed"),
    "drips": (fault_proxy.drips, Heard.UNREACHABLE, "No whole answer"),
    "truncated JSON": (fault_proxy.cuts_json, Heard.MALFORMED, "not readable as JSON"),
    "wrong content type": (fault_proxy.calls_it_html, Heard.MALFORMED, "as text/html, which is not JSON"),
    "1 GB": (fault_proxy.floods, Heard.MALFORMED, "more than 33554432 bytes"),
}
WHOLE = matrix([(one, one.samples) for one in served()])
ODD: dict[str, tuple[Behaviour, Heard, str]] = {
    "empty": (answers(200, b""), Heard.MALFORMED, "not readable"),
    "null": (answers(200, None), Heard.MALFORMED, "no JSON object"),
    "no series": (answers(200, matrix([])), Heard.NO_DATA, "no samples of the champion"),
    "no result": (answers(200, {"status": "success"}), Heard.MALFORMED, "no matrix"),
    "a scalar": (answers(200, {"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}), Heard.MALFORMED, "no matrix"),
    "a warning": (answers(200, {**WHOLE, "warnings": ["a store is down"]}), Heard.MALFORMED, "a store is down"),
    "an error": (answers(422, {"status": "error", "error": "too many samples"}), Heard.MALFORMED, "too many samples"),
    "an error of control letters": (answers(422, {"status": "error", "error": "a\0b\x1b[31m\u202ec"}), Heard.MALFORMED, "a b [31m c"),
    "a very long error": (answers(422, {"status": "error", "error": "x" * 10_000}), Heard.MALFORMED, "HTTP 422, " + "x" * 200),
    "a strange type": (answers(200, {}, Content_Type="x" * 5000), Heard.MALFORMED, "which is not JSON"),
    "an error of its own": (answers(503, {"status": "error"}), Heard.UNREACHABLE, "HTTP 503"),
    "not for us": (answers(401, {}), Heard.UNREACHABLE, "AI_INFRA_PROMETHEUS_TOKEN"),
    "elsewhere": (answers(302, {}, Location="http://example.org"), Heard.MALFORMED, "HTTP 302"),
    "series twice": (answers(200, matrix([(served()[0], [(1.0, 2.0)])] * 2)), Heard.MALFORMED, "one series twice"),
    "samples of no time": (answers(200, matrix([(served()[0], [(2.0, 2.0), (1.0, 3.0)])])), Heard.MALFORMED, "cannot be read"),
    "a sample that is a number": (
        answers(200, {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, 2]]}]}}),
        Heard.MALFORMED,
        "cannot be read",
    ),
    "a native histogram": (
        answers(200, {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "histograms": []}]}}),
        Heard.MALFORMED,
        "cannot be read",
    ),
}


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """Give a proxy without a fault, in front of a Prometheus that has counted."""
    with between(answering(served()), fault_proxy.passes) as made:
        yield made


def ask(url: str, seconds: float = SECONDS) -> Reading:
    return signals.read(Settings(prometheus_url=url, signal_seconds=seconds), rollout(ERRORS), ERRORS, None, at(10))


def test_without_a_fault_the_proxy_lets_counts_through(proxy: FaultProxy) -> None:
    assert ask(proxy.url, 20).heard is Heard.OK


@pytest.mark.parametrize(("fault", "heard", "why"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_on_the_way_is_a_reading_without_counts_in_time(proxy: FaultProxy, fault: Fault, heard: Heard, why: str) -> None:
    proxy.fault = fault
    began, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reading = ask(proxy.url, 20 if heard is Heard.MALFORMED else SECONDS)
    assert heard is Heard.MALFORMED or time.monotonic() - began < SECONDS + SLACK_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200 * 1024, "the whole body was read"
    assert (reading.heard, reading.champion, reading.challenger, reading.through) == (heard, None, None, None)
    assert why in (reading.reason or "")
    proxy.fault = fault_proxy.passes
    assert ask(proxy.url, 20).heard is Heard.OK


@pytest.mark.parametrize(("behaviour", "heard", "why"), ODD.values(), ids=ODD.keys())
def test_an_odd_answer_is_a_reading_without_counts(behaviour: Behaviour, heard: Heard, why: str) -> None:
    with scripted_server(behaviour) as server:
        reading = ask(server.url, 20)
    assert (reading.heard, reading.champion, reading.challenger) == (heard, None, None)
    assert why in (reading.reason or "")
    assert reading.reason is not None and reading.reason.isprintable() and len(reading.reason) <= 300


def test_a_prometheus_that_is_not_there_is_a_reading_without_counts() -> None:
    assert ask(unused_url()).heard is Heard.UNREACHABLE
    assert "AI_INFRA_PROMETHEUS_URL" in (signals.read(Settings(), rollout(ERRORS), ERRORS, None, at(10)).reason or "")


def test_a_fault_within_a_look_does_not_lose_what_was_counted_meanwhile(proxy: FaultProxy) -> None:
    before = ask(proxy.url, 20)
    disbelieved = before.model_copy(update={"heard": Heard.DECREASING, "champion": None, "challenger": None})
    proxy.fault = fault_proxy.resets
    silent = ask(proxy.url, 20)
    with simulated(served()) as url:
        settings = Settings(prometheus_url=url, signal_seconds=20)
        asked = (before, silent, disbelieved, None)
        after = [signals.read(settings, rollout(ERRORS), ERRORS, previous, at(12)) for previous in asked]
    assert silent.heard is Heard.UNREACHABLE and after[0].heard is Heard.OK
    assert after[1:] == after[:1] * 3


def test_the_token_goes_to_prometheus_and_into_no_reason() -> None:
    with scripted_server(answers(403, {"error": "no"})) as server:
        settings = Settings(prometheus_url=server.url, prometheus_token="a-secret-token")  # noqa: S106 - made up
        reading = signals.read(settings, rollout(ERRORS), ERRORS, None, at(10))
        assert server.requests[0].headers["authorization"] == "Bearer a-secret-token"
    assert "a-secret-token" not in reading.model_dump_json()


@pytest.mark.parametrize("then", ["silence", "reset"])
@pytest.mark.parametrize("after", [0, 1, 300, 600])
def test_a_database_that_falls_silent_or_hangs_up_is_a_reading_without_counts_in_time(
    empty_database_url: str, after: int, then: Then
) -> None:
    with faulty(empty_database_url, after, then) as url:
        settings = Settings(signals_database_url=url, signal_seconds=SECONDS)
        began = time.monotonic()
        reading = signals.read(settings, rollout(SQL), SQL, None, at(10))
        assert time.monotonic() - began < SECONDS + SLACK_SECONDS
        while any(thread.name == "outbound" for thread in threading.enumerate()):
            assert time.monotonic() - began < 30, "what asked is still there"
            time.sleep(0.05)
    assert (reading.heard, reading.champion, reading.challenger) == (Heard.UNREACHABLE, None, None)


def test_without_a_fault_the_database_answers(empty_database_url: str) -> None:
    with faulty(empty_database_url, 10**9, "reset") as url:
        reading = signals.read(Settings(signals_database_url=url, signal_seconds=20), rollout(SQL), SQL, None, at(10))
    assert reading.heard is Heard.OK


def test_a_database_that_is_not_there_is_a_reading_without_its_password() -> None:
    port = unused_url().rpartition(":")[2]
    settings = Settings(signals_database_url=f"postgresql://eve:secret-word@127.0.0.1:{port}/none")
    reading = signals.read(settings, rollout(SQL), SQL, None, at(10))
    assert reading.heard is Heard.UNREACHABLE
    assert "secret-word" not in reading.model_dump_json()
