"""A deliverer killed at any step, then run again: each sink has every event, in order, and what it refused is set aside once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path

import pytest
from sqlalchemy import text

from aiinfra_core import artifact_store, database
from aiinfra_core.audit_log.delivering import archive_reading
from aiinfra_core.evidence import entry
from aiinfra_core.settings import Settings
from tests.simulators.audit_events import answering, dead_letters, deliveries, rows, seqs, tell
from tests.simulators.own_process import run_until
from tests.simulators.scripted_server import answers, scripted_server

EVENTS = 5
REFUSED = 3


@pytest.fixture(scope="module")
def runner() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, str(Path(__file__).with_name("killed_delivery.py"))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _forget_deliveries(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        tx.execute(text("DELETE FROM audit_deliveries"))
        tx.execute(text("DELETE FROM audit_dead_letters"))


def _killed_at_each_step(runner: "subprocess.Popen[str]", settings: Settings, sink: str) -> Iterator[int]:
    """Yield after each run that was killed at the next step and then run again, until one ends undisturbed."""
    for at in count(1):
        _forget_deliveries(settings)
        killed = run_until(runner, settings, at, sinks=sink)
        if killed["signal"] == 0:
            assert (killed["exit"], killed["steps"]) == (0, at - 1)
            return
        assert (killed["signal"], killed["steps"]) == (9, at)
        assert run_until(runner, settings, 0, sinks=sink)["exit"] == 0
        yield at


def test_an_http_sink_gets_every_event_at_least_once_and_in_order_whenever_its_deliverer_is_killed(
    runner: "subprocess.Popen[str]", settings: Settings
) -> None:
    tell(settings, EVENTS)
    with scripted_server(answering({REFUSED: answers(422)}, answers(202, b""))) as server:
        for at in _killed_at_each_step(runner, settings, server.url):
            _check_sent(seqs(server), at)
            (state,) = deliveries(settings).values()
            assert (list(dead_letters(settings)), state.delivered_seq) == ([REFUSED], EVENTS)
            server.requests.clear()
    assert at > 2 * EVENTS


def _check_sent(sent: list[int], at: int) -> None:
    first_times = list(dict.fromkeys(sent))
    assert first_times == list(range(1, EVENTS + 1)), at
    # One kill makes the deliverer go back once at most, and never forward past an event.
    back = [after for before, after in pairwise(sent) if after != before + 1]
    assert len(back) <= 1, (at, sent)


@pytest.mark.slow
def test_an_archive_is_whole_whenever_its_deliverer_is_killed(runner: "subprocess.Popen[str]", settings: Settings, tmp_path: Path) -> None:
    tell(settings, EVENTS)
    expected = [entry.leaf(row) for row in rows(settings)]
    place = tmp_path / "archive"
    for at in _killed_at_each_step(runner, settings, place.as_uri()):
        done = place.rename(tmp_path / f"archive-{at}")
        found = archive_reading.entries(artifact_store.location_at(settings, done.as_uri(), "here"))
        assert [leaf for _, leaf in found] == expected
        assert (list(done.rglob("*.partial")), dead_letters(settings)) == ([], {}), at
    assert at > 4 * EVENTS
