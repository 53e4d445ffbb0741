"""Events on their way to HTTP sinks: at least once, in order, whatever the sink answers; real sockets, a real database."""

import threading
import time

import pytest
from sqlalchemy import text

from aiinfra_core import canonical_json, database
from aiinfra_core.audit_log.delivering import cloud_events, delivery, sinks
from aiinfra_core.audit_log.delivering.delivery import MOST_ATTEMPTS, deliver
from aiinfra_core.audit_log.delivering.replay import replay
from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.evidence import entry
from aiinfra_core.outbound import Patience
from aiinfra_core.settings import Settings
from tests.simulators.audit_events import answering, dead_letters, deliveries, rows, seqs, tell
from tests.simulators.scripted_server import Behaviour, answers, cuts_short, hangs, resets, scripted_server, speaks_no_http, unused_url

TAKEN = answers(202, b"")
SECRET = "sink-token-sWz6"  # noqa: S105 - no secret of anybody


def _with(settings: Settings, *addresses: str, **more: object) -> Settings:
    return settings.model_copy(update={"audit_sinks": addresses, **more})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_events, "_PATIENCE", Patience(timeout_seconds=0.3, attempts=1))


def test_every_event_is_posted_once_in_order_as_a_cloud_event_whose_data_is_its_entry(settings: Settings) -> None:
    tell(settings, 5)
    with scripted_server(TAKEN) as server:
        (done,) = deliver(_with(settings, f"{server.url}/events"))
        again = deliver(_with(settings, f"{server.url}/events"))
    assert (done.delivered, done.set_aside, done.problem) == (5, 0, None)
    assert again[0].delivered == 0
    assert [received.json["data"] for received in server.requests] == [canonical_json.loads(entry.leaf(row)) for row in rows(settings)]
    first, row = server.requests[0], rows(settings)[0]
    assert entry.leaf(row) in first.body
    assert (first.path, first.headers["content-type"]) == ("/events", "application/cloudevents+json; charset=utf-8")
    assert {name: value for name, value in first.json.items() if name != "data"} == {
        "specversion": "1.0",
        "id": str(row["id"]),
        "source": settings.log_origin,
        "type": "ai-infra.evaluation.recorded",
        "subject": canonical_json.loads(row["payload"])["subject"],
        "time": canonical_json.loads(row["payload"])["time"],
        "sequence": f"{1:020d}",
        "datacontenttype": "application/json",
    }


@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_an_event_refused_for_good_is_set_aside_and_those_after_it_go_on(settings: Settings, status: int) -> None:
    tell(settings, 5)
    with scripted_server(answering({2: answers(status), 4: answers(status)}, TAKEN)) as server:
        (done,) = deliver(_with(settings, server.url))
        assert seqs(server) == [1, 2, 3, 4, 5]
    assert (done.delivered, done.set_aside, done.problem) == (3, 2, None)
    letters = {seq: (letter.attempts, letter.reason) for seq, letter in dead_letters(settings).items()}
    assert letters == dict.fromkeys((2, 4), (1, f"{server.url} answered HTTP {status}."))


@pytest.mark.parametrize(
    "down",
    [
        answers(500),
        answers(503),
        answers(429),
        answers(408),
        answers(401),
        answers(404),
        answers(307),
        resets,
        cuts_short(b""),
        hangs,
        speaks_no_http,
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_sink_that_is_down_waits_at_its_event_and_holds_no_other_sink(settings: Settings, down: Behaviour) -> None:
    tell(settings, 4)
    with scripted_server(answering({3: down}, TAKEN)) as broken, scripted_server(TAKEN) as working:
        both = _with(settings, broken.url, working.url)
        held, free = deliver(both)
        assert (held.delivered, free.delivered, free.problem) == (2, 4, None)
        assert held.problem
        assert seqs(broken)[:3] == [1, 2, 3]
        state = deliveries(settings)[held.sink.id]
        assert (state.delivered_seq, state.failures, state.last_error) == (2, 1, held.problem)
        assert state.retry_at > state.updated_at
        waiting, _ = deliver(both)
        assert (waiting.paused, waiting.problem) == (True, held.problem)
        assert len(seqs(broken)) == 3
        broken.script = [TAKEN]
        (done, _) = deliver(both, at_once=True)
    assert (done.delivered, done.problem) == (2, None)
    assert seqs(broken) == [1, 2, 3, 3, 4]
    state = deliveries(settings)[held.sink.id]
    assert (state.delivered_seq, state.failures, state.last_error, state.retry_at) == (4, 0, None, None)
    assert dead_letters(settings) == {}


def test_a_sink_nobody_listens_at_waits_longer_each_time_and_never_gets_a_dead_letter(settings: Settings) -> None:
    tell(settings, 2)
    nowhere, pauses = _with(settings, unused_url()), []
    for _ in range(MOST_ATTEMPTS + 5):
        (done,) = deliver(nowhere, at_once=True)
        assert done.problem
        state = deliveries(settings)[done.sink.id]
        pauses.append((state.retry_at - state.updated_at).total_seconds())
    for number, pause in enumerate(pauses):
        whole = min(300, 2**number)
        assert whole / 2 - 0.1 <= pause <= whole + 0.1
    assert (state.failures, state.delivered_seq, dead_letters(settings)) == (MOST_ATTEMPTS + 5, 0, {})


def test_a_log_of_many_pages_is_delivered_in_order(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAGE", 3)
    tell(settings, 10)
    with scripted_server(answering({4: answers(422), 7: answers(503)}, TAKEN)) as server:
        sink = _with(settings, server.url)
        assert deliver(sink)[0].delivered == 5
        server.script = [TAKEN]
        assert deliver(sink, at_once=True)[0].delivered == 4
        assert replay(sink, sinks.configured(sink)[0]).delivered == 10
    assert seqs(server) == [1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, *range(1, 11)]
    assert dead_letters(settings) == {}


def test_an_event_a_living_sink_never_manages_to_take_is_set_aside_once_the_one_after_it_is_taken(settings: Settings) -> None:
    tell(settings, 4)
    with scripted_server(answering({2: answers(500)}, TAKEN)) as server:
        sink = _with(settings, server.url)
        for _ in range(MOST_ATTEMPTS - 1):
            assert deliver(sink, at_once=True)[0].problem
        assert dead_letters(settings) == {}
        (done,) = deliver(sink, at_once=True)
    assert (done.problem, done.set_aside) == (None, 1)
    assert seqs(server) == [1, *[2] * MOST_ATTEMPTS, 3, 4]
    letter = dead_letters(settings)[2]
    assert letter.attempts == MOST_ATTEMPTS
    assert "HTTP 500" in letter.reason


def test_the_last_event_of_the_log_is_never_set_aside_because_nothing_shows_that_the_sink_works(settings: Settings) -> None:
    tell(settings, 1)
    with scripted_server(answers(500)) as server:
        for _ in range(MOST_ATTEMPTS + 2):
            assert deliver(_with(settings, server.url), at_once=True)[0].problem
    assert dead_letters(settings) == {}


def test_two_deliverers_at_once_deliver_each_event_once(settings: Settings) -> None:
    tell(settings, 30)
    busy: list[bool] = []
    with scripted_server(TAKEN) as server:
        sink = _with(settings, server.url)
        threads = [threading.Thread(target=lambda: busy.extend(done.busy for done in deliver(sink))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        deliver(sink)
    assert seqs(server) == list(range(1, 31))
    assert 1 <= busy.count(True) < 4


def test_progress_is_recorded_while_a_page_is_under_way(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_RECORD_SECONDS", 0.0)
    tell(settings, 3)
    seen: list[int] = []
    with scripted_server(TAKEN) as server:
        server.on_request = lambda: seen.append(max((row.delivered_seq for row in deliveries(settings).values()), default=0))
        deliver(_with(settings, server.url))
    assert seen == [0, 1, 2]


def test_a_call_ends_when_its_time_is_over_and_the_next_one_continues(settings: Settings) -> None:
    tell(settings, 6)
    with scripted_server(TAKEN) as server:
        server.on_request = lambda: time.sleep(0.1)
        (done,) = deliver(_with(settings, server.url), seconds=0.25)
        assert 1 <= done.delivered < 6
        deliver(_with(settings, server.url))
    assert seqs(server) == [1, 2, 3, 4, 5, 6]


def test_a_stretch_is_delivered_again_on_request_and_progress_stays(settings: Settings) -> None:
    tell(settings, 6)
    with scripted_server(TAKEN) as server:
        sink = sinks.named(_with(settings, server.url), server.url)
        deliver(_with(settings, server.url), seconds=None)
        tell(settings, 2)
        done = replay(_with(settings, server.url), sink, first=2, last=4)
        everything = replay(_with(settings, server.url), sink)
    assert (done.delivered, done.refused, done.last) == (3, 0, 4)
    assert everything.delivered == 6
    assert seqs(server) == [1, 2, 3, 4, 5, 6, 2, 3, 4, 1, 2, 3, 4, 5, 6]
    assert deliveries(settings)[sink.id].delivered_seq == 6


def test_dead_letters_are_delivered_again_on_request_and_forgotten_when_taken(settings: Settings) -> None:
    tell(settings, 6)
    with scripted_server(answering({2: answers(422), 4: answers(422), 6: answers(422)}, TAKEN)) as server:
        sink = sinks.named(_with(settings, server.url), server.url)
        deliver(_with(settings, server.url))
        server.script = [answering({4: answers(422)}, TAKEN)]
        done = replay(_with(settings, server.url), sink, dead=True)
    assert (done.delivered, done.refused) == (2, 1)
    assert seqs(server) == [1, 2, 3, 4, 5, 6, 2, 4, 6]
    assert {seq: letter.attempts for seq, letter in dead_letters(settings).items()} == {4: 2}


def test_a_replay_to_a_sink_that_is_down_keeps_what_was_taken_before(settings: Settings) -> None:
    tell(settings, 4)
    with scripted_server(answers(422)) as server:
        sink = sinks.named(_with(settings, server.url), server.url)
        deliver(_with(settings, server.url))
        server.script = [answering({3: answers(503)}, TAKEN)]
        with pytest.raises(Unavailable, match="503"):
            replay(_with(settings, server.url), sink, dead=True)
    assert list(dead_letters(settings)) == [3, 4]


@pytest.mark.parametrize(("first", "last"), [(0, None), (3, 2)])
def test_a_stretch_that_is_none_is_refused(settings: Settings, first: int, last: int | None) -> None:
    sink = sinks.configured(_with(settings, "http://127.0.0.1:9"))[0]
    with pytest.raises(BadInput, match="stretch"):
        replay(settings, sink, first=first, last=last)


def test_without_sinks_nothing_is_done(settings: Settings) -> None:
    assert deliver(settings) == []


def test_a_lost_database_is_told_and_no_event_is_lost(settings: Settings) -> None:
    tell(settings, 3)

    def cut() -> None:
        if len(server.requests) == 1:
            with database.autocommit(settings) as connection:
                connection.execute(text("RESET ROLE"))
                connection.execute(
                    text(
                        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )

    with scripted_server(TAKEN) as server:
        server.on_request = cut
        with pytest.raises(Unavailable) as lost:
            deliver(_with(settings, server.url))
        assert lost.value.part == "database"
        (done,) = deliver(_with(settings, server.url))
    assert done.delivered == 3
    assert sorted(set(seqs(server))) == [1, 2, 3]
