"""A provider that talks nonsense, or of which something unexpected comes: a reading that says so, and the rollout ends when it has to."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from aiinfra_core import database, rolling_out
from aiinfra_core.domain.rollout import Heard, Rollout, RolloutStatus, Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec
from aiinfra_core.settings import Settings
from tests.simulators import open_rollouts
from tests.simulators.scripted_server import Behaviour, Handler, Received, answers, scripted_server

QUERIES = """
queries:
  gateway: {kind: prometheus, units: 'served_total{by="{promotion}"}', bad: 'failed_total{by="{promotion}"}'}
"""
ERRORS = SignalSpec(name="errors", kind=SignalKind.ERRORS, alpha=0.004, source="gateway")
OBSERVED = SignalSpec(name="observed", kind=SignalKind.ERRORS, alpha=0.003)
SPEC = RolloutSpec(weights=(50, 100), bake_minutes=0, deadline_hours=1, silent_minutes=600, signals=(ERRORS,))


def matrix(*values: list[Any]) -> Mapping[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {"pod": "one"}, "values": list(values)}]}}


def rises_beyond_all_numbers(handler: Handler, received: Received) -> None:
    until = float(parse_qs(urlsplit(received.path).query)["time"][0])
    values = ([until - before, "0" if before % 2 else "1.7e308"] for before in (4, 3, 2, 1, 0))
    answers(200, matrix([1, "0"], *values))(handler, received)


NONSENSE: dict[str, Behaviour] = {
    "a time that is no number": answers(200, matrix(["nan", "1"])),
    "a time after all calendars": answers(200, matrix([1e300, "1"])),
    "a time of too many digits": answers(200, matrix([10**400, "1"])),
    "a rise beyond all numbers": rises_beyond_all_numbers,
    "an error with a NUL": answers(400, {"status": "error", "error": "a\0b"}),
}


@pytest.fixture
def asking(settings: Settings, tmp_path: Path) -> Settings:
    file = tmp_path / "rollouts.yaml"
    file.write_text(QUERIES)
    return settings.model_copy(update={"rollouts": file, "prometheus_url": SecretStr("http://127.0.0.1:1")})


def look(settings: Settings, rollout: Rollout, hours: float) -> rolling_out.Looked:
    (looked,) = rolling_out.look_round(settings, rollout.created_at + timedelta(hours=hours))
    return looked


@pytest.mark.parametrize("behaviour", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_rollout_ends_at_its_deadline_while_its_provider_talks_nonsense(asking: Settings, behaviour: Behaviour) -> None:
    rollout = open_rollouts.begun(asking, SPEC)
    with scripted_server(behaviour) as server:
        there = asking.model_copy(update={"prometheus_url": SecretStr(server.url)})
        looked = [look(there, rollout, hours) for hours in (0.5, 1.1)]
    assert [(one.problem, one.look and one.look.verdict) for one in looked] == [(None, Verdict.HOLD), (None, Verdict.INCONCLUSIVE)]
    assert [one.look.readings[0].heard for one in looked if one.look] == [Heard.MALFORMED] * 2
    assert open_rollouts.now(asking, rollout).status is RolloutStatus.INCONCLUSIVE


def test_a_challenger_that_is_worse_goes_back_while_something_unexpected_happens_to_another_signal(
    asking: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    rollout = open_rollouts.begun(asking, SPEC.model_copy(update={"signals": (ERRORS, OBSERVED)}))
    open_rollouts.observe(asking, rollout, {"champion": (500, 5), "challenger": (500, 100)})
    with scripted_server(answers(200, matrix([1, "1"]))) as server:
        unsendable = {"prometheus_url": SecretStr(server.url), "prometheus_token": SecretStr("schlüssel")}
        found = rolling_out.look_at(asking.model_copy(update=unsendable), rollout.id)
    assert found is not None and found.verdict is Verdict.ROLLBACK
    unheard, observed = found.readings
    assert (unheard.heard, observed.heard) == (Heard.MALFORMED, Heard.OK)
    assert unheard.reason == "reading it ended in something unexpected (UnicodeEncodeError); the log shows where"
    assert "Traceback" in caplog.text and "schlüssel" not in caplog.text


def test_a_rollout_that_cannot_even_be_read_leaves_the_others_to_be_looked_at(asking: Settings, caplog: pytest.LogCaptureFixture) -> None:
    unreadable, other = (open_rollouts.begun(asking, open_rollouts.SPEC, model=model) for model in ("hail", "snow"))
    with database.transaction(asking) as tx:
        tx.execute(text("""UPDATE rollouts SET frozen = '{"latency": "fast"}' WHERE id = :id"""), {"id": unreadable.id})
    looked = rolling_out.look_round(asking, other.created_at + timedelta(minutes=2))
    assert [(one.rollout.id, one.problem) for one in looked] == [(other.id, None)]
    assert f"Rollout {unreadable.id} cannot be read" in caplog.text
