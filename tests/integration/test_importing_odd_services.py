"""A service that answers oddly, lies, never ends or is not there: a sentence, and nothing of it is kept."""

import json

import pytest

from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.importing import go_service
from aiinfra_core.outbound import Patience
from aiinfra_core.settings import Settings
from tests.simulators import imported_records
from tests.simulators.go_service import GoService
from tests.simulators.imported_records import imported, rows, stored
from tests.simulators.scripted_server import Behaviour, Handler, Received, answers, drips_body, scripted_server, unused_url

old = imported_records.old


@pytest.mark.parametrize("url", ["ftp://old", "old.example", "http://me:secret@old.example", f"http://old.example/{'x' * 500}"])
def test_an_address_that_is_none_or_holds_credentials_is_refused(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        go_service.service_at(url, None)
    assert "secret" not in str(refused.value)


def endless(handler: Handler, received: Received) -> None:
    offset = int(received.path.rpartition("=")[2])
    handler.send(200, json.dumps([{"id": f"a{offset + number}"} for number in range(100)]).encode())


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (answers(200, b"[" + b" " * go_service.MAX_BYTES + b"]"), "more than 16,777,216 bytes"),
        (answers(200, b"{"), "not readable as JSON"),
        (answers(200, b'[{"id":"a","id":"b"}]'), "names a key twice"),
        (answers(200, {"error": "no"}), "is no list"),
        (answers(200, [1]), "something else than a record"),
        (answers(200, [{"name": "x"}]), "has no id"),
        (answers(200, [{"id": "a\u0000b"}]), "has no id"),
        (answers(302, b"", Location="http://127.0.0.1:1/"), "HTTP 302"),
        (answers(404, {"error": "not found"}), "HTTP 404"),
        (endless, "more than 1,000 artifacts"),
    ],
    ids=["huge", "no JSON", "twice", "no list", "no record", "no id", "odd id", "redirect", "another service", "endless"],
)
def test_a_service_that_answers_oddly_is_left_alone_with_a_sentence(
    settings: Settings, behaviour: Behaviour, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_service, "MOST_ARTIFACTS", 1_000)
    with scripted_server(behaviour) as server, pytest.raises(BadInput, match=said):
        imported(settings, server.url)
    assert rows(settings) == []


def test_a_service_that_takes_no_notice_of_the_offset_is_still_read_once(settings: Settings, old: GoService) -> None:
    artifact = old.trained(*stored(settings, "a"))

    def deaf(handler: Handler, received: Received) -> None:
        if "?" in received.path:
            handler.send(200, json.dumps([artifact]).encode())
        else:
            old.answer(handler, received)

    with scripted_server(deaf) as server:
        assert imported(settings, server.url).counts["artifact", "registered"] == 1


def test_a_detail_about_another_artifact_is_refused(settings: Settings, old: GoService) -> None:
    artifact = old.trained(*stored(settings, "a"))

    def lying(handler: Handler, received: Received) -> None:
        listed, detail = [artifact], {"artifact": {**artifact, "id": "other"}}
        handler.send(200, json.dumps(listed if "?" in received.path else detail).encode())

    with scripted_server(lying) as server, pytest.raises(BadInput, match="with another artifact"):
        imported(settings, server.url)


@pytest.mark.parametrize("behaviour", [drips_body, None], ids=["drips", "nobody"])
def test_a_service_that_cannot_be_reached_is_unavailable(
    settings: Settings, behaviour: Behaviour | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(go_service, "_PATIENCE", Patience(timeout_seconds=0.3, attempts=2, backoff_seconds=0.01))
    if behaviour is None:
        with pytest.raises(Unavailable, match="the Go service"):
            imported(settings, unused_url())
        return
    with scripted_server(behaviour) as server, pytest.raises(Unavailable, match="the Go service"):
        imported(settings, server.url)
