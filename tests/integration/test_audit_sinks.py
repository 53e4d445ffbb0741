"""How sinks are configured and named, and that their token goes nowhere else."""

import logging

import pytest
from sqlalchemy import text

from aiinfra_core import database
from aiinfra_core.audit_log.delivering import sinks
from aiinfra_core.audit_log.delivering.delivery import deliver
from aiinfra_core.errors import Misconfigured, NotFound
from aiinfra_core.settings import Settings
from tests.simulators.audit_events import answering, tell
from tests.simulators.scripted_server import answers, scripted_server

TAKEN = answers(202, b"")
SECRET = "sink-token-sWz6"  # noqa: S105 - no secret of anybody


def _with(settings: Settings, *addresses: str, **more: object) -> Settings:
    return settings.model_copy(update={"audit_sinks": addresses, **more})


def test_the_token_goes_to_the_sink_and_nowhere_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AI_INFRA_AUDIT_SINK_TOKEN", SECRET)
    configured = _with(settings, audit_sink_token=Settings().audit_sink_token)
    tell(settings, 3)
    caplog.set_level(logging.DEBUG)
    with scripted_server(answering({2: answers(401), 1: answers(422)}, TAKEN)) as server:
        configured = configured.model_copy(update={"audit_sinks": (f"{server.url}/hooks/path-pQ7x",)})
        (done,) = deliver(configured)
    assert {received.headers["authorization"] for received in server.requests} == {f"Bearer {SECRET}"}
    with database.transaction(settings) as tx:
        kept = [str(row) for name in ("audit_deliveries", "audit_dead_letters") for row in tx.execute(text(f"SELECT * FROM {name}"))]
    told = [*kept, repr(configured), repr(done), repr(sinks.configured(configured))]
    told += [record.getMessage() for record in caplog.records]
    assert len(kept) == 2
    assert not [line for line in told if SECRET in line or "path-pQ7x" in line]


@pytest.mark.parametrize("token", ["", "two words", "new\nline", "ümlaut"])
def test_a_token_that_no_header_can_hold_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("AI_INFRA_AUDIT_SINK_TOKEN", token)
    with pytest.raises(Misconfigured, match="AI_INFRA_AUDIT_SINK_TOKEN") as refused:
        Settings()
    assert not token or token not in str(refused.value)


def _refused(settings: Settings, *addresses: str, **more: object) -> str:
    with pytest.raises(Misconfigured) as refused:
        deliver(_with(settings, *addresses, **more))
    return str(refused.value)


@pytest.mark.parametrize(
    "wrong",
    ["ftp://bus", "https://user:pass-word@bus", "https://bus/?key=pass-word", "s3://", "s3://B", "file://relative", "bus", "https://"],
)
def test_an_address_that_is_no_sinks_is_refused_by_its_place_and_nothing_is_delivered(settings: Settings, wrong: str) -> None:
    tell(settings, 1)
    with scripted_server(TAKEN) as server:
        said = _refused(settings, server.url, wrong)
    assert said.startswith("Address 2 of AI_INFRA_AUDIT_SINKS")
    assert "pass-word" not in said
    assert server.requests == []


def test_the_same_sink_twice_is_refused(settings: Settings) -> None:
    assert "twice" in _refused(settings, "http://127.0.0.1:9", "http://127.0.0.1:9/")


def test_a_token_does_not_travel_in_the_clear(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_INFRA_AUDIT_SINK_TOKEN", SECRET)
    assert "https://" in _refused(settings, "http://bus.example", audit_sink_token=Settings().audit_sink_token)


def test_a_sink_is_named_by_its_address_or_the_beginning_of_its_id(settings: Settings) -> None:
    two = _with(settings, "http://127.0.0.1:9/a", "http://127.0.0.1:9/b")
    first, second = sinks.configured(two)
    assert sinks.named(two, "http://127.0.0.1:9/a") == first
    assert sinks.named(two, second.id[:12]) == second
    for unknown in ("http://127.0.0.1:9/c", second.id[:7], "", first.name):
        with pytest.raises(NotFound):
            sinks.named(two, unknown)
