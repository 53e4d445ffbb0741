"""Requests that hang, and those that take their process with them, are requests that failed: each once, whoever tells of it."""

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import canary
from aiinfra_core.canary import Seen
from aiinfra_core.domain.latency import MOST_BIN
from aiinfra_core.domain.rollout import Arm, Counts, Heard, Look, Reading, Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec, Unit
from aiinfra_core.errors import BadInput, Unavailable
from aiinfra_core.serving import Serving, kept, ledger
from aiinfra_core.serving.ledger import Ledger, Left, Open
from tests.simulators.routings import MINUTES, ROLLOUT
from tests.simulators.serving_place import UNITS, Place, place_in, until
from tests.simulators.trust_files import NOW

CHAMPION, CHALLENGER = Arm.CHAMPION, Arm.CHALLENGER
AT_ONCE = 1e-9
"""So many seconds have passed at the next poll."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_in(tmp_path) as made:
        made.shares()
        yield made


def told(place: Place) -> dict[str, int]:
    return {kind: sum(place.service.outcomes(arm, kind) for arm in Arm) for kind in ("units", "errors")}


def test_a_request_that_hangs_has_failed_and_is_slower_than_any_and_its_end_changes_nothing(place: Place) -> None:
    with place.serving(answer_seconds=AT_ONCE) as serving:
        with serving.answering("user-1") as chosen:
            serving.report_outcomes()
            assert (told(place), serving.standing().unanswered) == ({"units": 1, "errors": 1}, 1)
        assert not serving.report(chosen)
        assert serving.label(chosen, wrong=False)
    (first, second) = place.service.taken.values()
    assert first["counts"] == [{"arm": chosen.arm, "units": 1, "errors": 1, "labelled": 0, "wrong": 0, "latency": {str(MOST_BIN): 1}}]
    assert [(one["units"], one["labelled"]) for one in second["counts"]] == [(0, 1)]


def test_what_is_chosen_and_never_reported_has_failed_when_serving_ends_and_a_peek_is_no_request(place: Place) -> None:
    with place.serving() as serving:
        left, peeked = serving.choose("user-1"), serving.peek("user-2")
        assert serving.report(serving.choose("user-3"))
        assert not serving.report(peeked)
    assert told(place) == {"units": 2, "errors": 1}
    assert not serving.report(left)
    assert place.service.outcomes(left.arm, "errors") == 1
    assert not list(place.cache.rglob("outcomes/*"))


_ENDS = """
import os, signal, sys, threading
from pathlib import Path
from aiinfra_core.artifact_store import Location
from aiinfra_core.client import Client
from aiinfra_core.serving import Serving, kept, ledger
from tests.simulators.routings import ENVIRONMENT, MODEL, Clock
from tests.simulators.trust_files import trust_of, trusted

url, store, cache, end, patience, poll = sys.argv[1:]
client = Client(url, timeout=5, deadline=5)
given = {"client": client, "trust": trust_of(trusted("ci")), "places": [Location(store, None)], "cache": Path(cache)}
if end == "adopting":
    ledger.Path.unlink = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
serving = Serving(MODEL, ENVIRONMENT, clock=Clock(), poll_seconds=float(poll), answer_seconds=float(patience), **given)
serving.start()

def hangs(unit):
    with serving.answering(unit):
        entered.release()
        threading.Event().wait()

entered = threading.Semaphore(0)
for unit in ("user-1", "user-2", "user-3"):
    threading.Thread(target=hangs, args=[unit], daemon=True).start()
    entered.acquire()
for unit in ("user-4", "user-5"):
    serving.report(serving.choose(unit))
serving._outcomes.seal()
print("open", flush=True)
sys.stdin.readline()
with serving.answering("user-6"):
    os.kill(os.getpid(), int(end))
"""


@contextmanager
def process_that_ends(place: Place, how: str, patience: float = 60, poll: float = 3600) -> Iterator[subprocess.Popen[str]]:
    """Give a process with three requests open and two answered; told to, it ends with a fourth open."""
    given = [place.service.url, place.store.root, str(place.cache), how, str(patience), str(poll)]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", _ENDS, *given], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
    ) as one:
        try:
            yield one
        finally:
            one.kill()


def ended(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    process.communicate("\n", timeout=30)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_requests_a_process_dies_with_are_told_as_failed_once_by_another_that_lives(place: Place, number: signal.Signals) -> None:
    with place.serving() as living, process_that_ends(place, str(int(number))) as process:
        living.report_outcomes()
        assert told(place) == {"units": 0, "errors": 0}
        assert ended(process) == -number
        living.report_outcomes()
        living.report_outcomes()
        assert (told(place), living.standing().unanswered) == ({"units": 4, "errors": 4}, 4)
    with place.serving() as after:
        assert after.standing().batches_waiting == 1  # what was answered, and made into a batch before the kill
    assert told(place) == {"units": 6, "errors": 4}
    assert not list(place.cache.rglob("outcomes/*"))


def test_a_process_killed_while_it_tells_of_another_leaves_that_to_a_third_and_nothing_counts_twice(place: Place) -> None:
    with process_that_ends(place, str(int(signal.SIGKILL))) as process:
        assert ended(process) == -signal.SIGKILL
    with process_that_ends(place, "adopting") as second:
        assert second.wait(30) == -signal.SIGKILL
    with place.serving() as third:
        third.report_outcomes()
        batches = [name for name, body in place.service.taken.items() if any(one["errors"] for one in body["counts"])]
        assert len(batches) == 1
    assert told(place) == {"units": 6, "errors": 4}


def test_a_process_that_hangs_tells_of_it_itself_and_once_it_is_killed_nobody_does_again(place: Place) -> None:
    with process_that_ends(place, "9", patience=0.05, poll=0.02) as process:
        assert until(lambda: told(place)["errors"] == 3)
        assert process.poll() is None
        process.kill()
    with place.serving():
        pass
    assert told(place)["errors"] == 3


def test_a_process_that_dies_with_users_waiting_leaves_their_digests(place: Place) -> None:
    place.shares(unit=Unit.USER)
    with process_that_ends(place, str(int(signal.SIGKILL))) as process:
        ended(process)
    with place.serving() as serving:
        expected = {chosen.unit: chosen.arm for chosen in map(serving.peek, ("user-1", "user-2", "user-3", "user-6"))}
    users = [one for body in place.service.taken.values() for one in body["users"]]
    assert {one["user"]: one["arm"] for one in users if one["failed"]} == expected
    assert len(users) == 6


def test_who_lives_keeps_what_it_has_open_to_itself(place: Place) -> None:
    with place.serving() as one, place.serving() as other:
        chosen = one.choose("user-1")
        other.report_outcomes()
        assert told(place) == {"units": 0, "errors": 0}
        assert len(list(place.cache.rglob("*.ledger"))) == 2
        assert one.report(chosen)
    assert told(place) == {"units": 1, "errors": 0}


def test_a_ledger_nobody_can_read_is_removed_and_one_that_cannot_be_made_is_told_and_serving_goes_on(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    with place.serving() as serving:
        (own,) = place.cache.rglob("outcomes/*.ledger")
        (own.parent / "odd.ledger").write_bytes(b"odd")
        serving.report_outcomes()
        assert list(place.cache.rglob("*.ledger")) == [own]
        assert "odd.ledger is no ledger" in caplog.text
    own.parent.rmdir()
    own.parent.write_bytes(b"a file where the folder should be")
    with place.serving() as serving:
        assert "can keep what is open" in str(serving.standing().reporting)
        assert {serving.choose(unit).arm for unit in UNITS} == {CHAMPION, CHALLENGER}


def test_a_ledger_that_another_took_between_opening_and_locking_it_is_not_taken_again(tmp_path: Path) -> None:
    Ledger(tmp_path, "gone:1").enter(ROLLOUT, 0, CHAMPION, None)
    (path,) = tmp_path.iterdir()
    taken: list[Left] = []
    with path.open("rb") as opened:
        ledger.take(path, taken.append)
        ledger.take(Path(f"/proc/self/fd/{opened.fileno()}"), taken.append)
    assert [(one.reporter, one.open) for one in taken] == [("gone:1", (Open(ROLLOUT, 0, CHAMPION, None),))]


def test_a_disk_with_no_room_is_told_and_left_as_it_was_and_tried_again(place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
    try:
        with place.serving() as serving:
            assert "File too large" in str(serving.standing().reporting)
            with pytest.raises(Unavailable, match="File too large"):
                kept.write(place.cache / "batch.json", bytes(65537))
            assert not list(place.cache.rglob(".*.new"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            serving.report_outcomes()
            assert serving.standing().reporting is None
            assert len(list(place.cache.rglob("*.ledger"))) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_more_requests_than_the_ledger_holds_are_still_counted(place: Place) -> None:
    with place.serving() as serving:
        chosen = [serving.choose(str(number)) for number in range(ledger.SLOTS + 10)]
        assert all(serving.report(one) for one in chosen[5:])
        chosen += [serving.choose(str(number)) for number in range(10)]
    assert told(place) == {"units": ledger.SLOTS + 20, "errors": 15}


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), float("-inf"), -1.0, 1e300])
def test_a_time_that_can_be_none_raises_nothing_and_counts_as_slower_than_any(
    place: Place, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    with place.serving() as serving:
        for unit in ("user-1", "user-2"):
            assert serving.report(serving.choose(unit), seconds=seconds)
    slow = [one["latency"] for body in place.service.taken.values() for one in body["counts"]]
    assert sum(one[str(MOST_BIN)] for one in slow) == 2
    assert caplog.text.count("slower than any other") == (seconds != 1e300)
    assert told(place)["errors"] == 0


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_within_which_time_there_is_an_answer_is_a_time(place: Place, seconds: float) -> None:
    with pytest.raises(BadInput, match="answer_seconds"), place.serving(answer_seconds=seconds):
        pass


@pytest.mark.parametrize(("lost", "verdict"), [(0.0, Verdict.HOLD), (0.05, Verdict.ROLLBACK)])
def test_a_challenger_that_loses_a_twentieth_of_its_requests_is_sent_back(place: Place, lost: float, verdict: Verdict) -> None:
    place.shares(weight=1000)
    luck, prev = random.Random(5), None  # noqa: S311 - a seed, so that a failure can be repeated
    with place.serving(answer_seconds=AT_ONCE) as serving:
        for number in range(1, 16):
            requests_of_a_minute(serving, luck, lost)
            serving.report_outcomes()
            prev = looked_at(number, place, prev)
            if prev.verdict is not Verdict.HOLD:
                break
    assert prev is not None
    assert prev.verdict is verdict


def requests_of_a_minute(serving: Serving, luck: random.Random, lost: float) -> None:
    for _ in range(2000):
        chosen = serving.choose(str(luck.random()))
        if chosen.arm is CHAMPION or luck.random() >= lost:
            serving.report(chosen, failed=luck.random() < 0.01)


def looked_at(number: int, place: Place, prev: Look | None) -> Look:
    """Look at what the service was told, as a driver does each minute."""
    spec = RolloutSpec(weights=(10, 100), bake_minutes=60, signals=(SignalSpec(name="errors", kind=SignalKind.ERRORS, alpha=0.005),))
    at = NOW + number * MINUTES
    seen: dict[str, Any] = {arm: Counts(units=place.service.outcomes(arm), bad=place.service.outcomes(arm, "errors")) for arm in Arm}
    reading = Reading(signal="errors", heard=Heard.OK, through=at, **seen)
    return canary.judge(spec, Seen(number, 0, at, NOW, NOW, at - timedelta(minutes=1), False), prev, [reading])
