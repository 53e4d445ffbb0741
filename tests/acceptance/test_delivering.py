"""The flow that delivers the audit log: what it says when every sink works, and that a sink that is down fails it by name."""

import pytest

from aiinfra_core.errors import Unavailable
from aiinfra_core.settings import Settings
from flows.deliver import deliver
from tests.simulators.audit_events import tell
from tests.simulators.scripted_server import answers, scripted_server, unused_url


@pytest.fixture(autouse=True)
def _prefect(prefect_api: str) -> None:
    """Run flows against the session's server."""


def test_the_log_is_delivered_to_every_sink(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(settings, 3)
    with scripted_server(answers(202, b"")) as server:
        monkeypatch.setenv("AI_INFRA_AUDIT_SINKS", f"{server.url}/hook-pQ7x")
        outcome = deliver()
    assert str(outcome) == "delivered: 3 events to 1 sinks, 0 set aside"
    assert len(server.requests) == 3


def test_a_sink_that_is_down_fails_the_run_and_is_named_without_its_path(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(settings, 1)
    down = unused_url()
    monkeypatch.setenv("AI_INFRA_AUDIT_SINKS", f"{down}/hook-pQ7x")
    with pytest.raises(Unavailable) as failed:
        deliver(at_once=True)
    assert (failed.value.part, "pQ7x" in str(failed.value)) == ("audit_sink", False)
    assert str(failed.value).startswith(f"{down}/…: ")
