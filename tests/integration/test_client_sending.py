"""What the client sends and what it refuses to send: conditions, tokens, addresses, names; against scripted servers."""

import logging
from typing import Any

import pytest

from aiinfra_core import errors
from tests.simulators import scripted_server
from tests.simulators.scripted_server import answers, unused_url
from tests.simulators.scripted_service import ARTIFACT, DONE, PROMOTION, SECRET, SPEC, asked, client, tells


def test_what_was_seen_is_sent_as_if_match_and_names_the_request() -> None:
    with asked(answers(200, PROMOTION)) as (service, requests):
        service.promote(ARTIFACT, "prod", evaluation={"quality": 0.9}, expected_sequence=3)
    sent = requests[0]
    assert (sent.headers["if-match"], "idempotency-key" in sent.headers) == ('"3"', False)
    assert sent.json == {
        "artifactId": str(ARTIFACT),
        "environment": "prod",
        "evaluation": {"quality": 0.9},
        "judgedOn": None,
        "requestedBy": None,
    }


@pytest.mark.parametrize("token", [{"token": SECRET}, {"token": None, "debug_token": SECRET}])
def test_the_token_is_sent_and_shows_nowhere(token: dict[str, str | None], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with asked(tells(503, "unavailable", retry_after=0), scripted_server.resets, DONE, **token) as (service, requests):
        service.train(SPEC, request_id="mine")
        shown = [repr(service), str(vars(service)), repr(service._connection)]
    sent = [one.headers.get("authorization") or one.headers.get("x-debug-token") for one in requests]
    assert set(sent) <= {f"Bearer {SECRET}", SECRET}
    assert len(sent) == 3
    with client(unused_url(), deadline=0.2, **token) as service, pytest.raises(errors.Unavailable) as gone:
        service.train(SPEC, request_id="mine")
    assert SECRET not in "".join([*shown, repr(gone.value), str(gone.value), caplog.text])
    assert "Trying again" in caplog.text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"token": f"{SECRET} with a space"}, "The token must be"),
        ({"token": f"{SECRET}\n"}, "The token must be"),
        ({"token": ""}, "The token must be"),
        ({"debug_token": "x"}, "not both"),
        ({"cert": ("/nowhere.pem", "/nowhere.key")}, "client certificate /nowhere.pem"),
        ({"ca": "/nowhere.pem"}, "CA certificates in /nowhere.pem"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_sent(given: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.Misconfigured, match=said) as told:
        client("http://127.0.0.1:9", **given)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "url", ["registry.example", f"https://ada:{SECRET}@registry.example", "ftp://registry.example", "https://", "http://x?y=1"]
)
def test_an_address_is_a_plain_one(url: str) -> None:
    with pytest.raises(errors.Misconfigured, match="The service's URL") as told:
        client(url)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 129, "line\n"])
def test_a_request_id_is_short_and_plain(key: str) -> None:
    with client("http://127.0.0.1:9") as service, pytest.raises(errors.BadInput, match="A request id is"):
        service.train(SPEC, request_id=key)
