"""The service is away, answers get lost, the process is killed: no wrong arm, no unverified bytes, each outcome once."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from aiinfra_core.domain.rollout import Arm
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.errors import Unavailable
from aiinfra_core.serving import Chosen, Serving, outbox, outcomes
from tests.simulators.routings import ENVIRONMENT, MINUTES, MODEL, routed
from tests.simulators.serving_place import UNITS, Place, arms, everybody, place_in, until

CHAMPION, CHALLENGER = Arm.CHAMPION, Arm.CHALLENGER


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_in(tmp_path) as made:
        yield made


def number_of(chosen: list[Chosen], arm: Arm) -> int:
    return sum(one.arm is arm for one in chosen)


def test_an_hour_without_the_service_sends_nobody_to_the_wrong_arm_and_counts_each_outcome_once(place: Place) -> None:
    place.shares(weight=5000)
    with place.serving() as serving:
        before = arms(serving)
        place.service.down = True
        counted: list[Chosen] = []
        for minute in range(60):
            serving.refresh()
            chosen = everybody(serving)
            watched = minute < 4  # the routing expires after four minutes
            assert {unit: one.arm for unit, one in zip(UNITS, chosen, strict=True)} == (
                before if watched else dict.fromkeys(UNITS, CHAMPION)
            )
            assert [serving.report(one, seconds=0.01) for one in chosen] == [watched] * len(UNITS)
            counted += chosen if watched else []
            serving.report_outcomes()
            place.clock.pass_(MINUTES)
        assert serving.standing().challenger is None
        assert serving.standing().problem
        assert place.service.taken == {}
        place.service.down = False
        place.shares(weight=5000, changes=2, issued_at=place.clock(), expires_at=place.clock() + 5 * MINUTES)
        serving.refresh()
        assert arms(serving) == before
        serving.report_outcomes()
        assert serving.standing().batches_waiting == 0
    assert len(counted) == 4 * len(UNITS)
    assert {arm: place.service.outcomes(arm) for arm in Arm} == {arm: number_of(counted, arm) for arm in Arm}


def test_a_process_that_starts_while_the_service_and_the_store_are_away_serves_what_was_accepted_last(place: Place) -> None:
    place.shares()
    with place.serving():
        pass
    place.service.down = True
    (place.folder / "store").rename(place.folder / "gone")
    with place.serving() as serving:
        assert {one.arm for one in everybody(serving)} == {CHAMPION, CHALLENGER}
    place.clock.pass_(timedelta(days=3))
    with place.serving() as serving:
        assert {one.arm for one in everybody(serving)} == {CHAMPION}


def test_a_kept_routing_that_was_changed_is_not_believed(place: Place) -> None:
    with place.serving():
        pass
    place.service.down = True
    file = place.cache / ENVIRONMENT / MODEL / "routing.json"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(Unavailable), place.serving():
        pass
    place.service.down = False
    with place.serving() as serving:
        assert serving.choose().arm is CHAMPION


def test_a_lost_answer_does_not_count_an_outcome_twice(place: Place) -> None:
    place.shares()
    with place.serving() as serving:
        chosen = [serving.choose(unit) for unit in UNITS]
        for one in chosen:
            serving.report(one, failed=one.arm is CHALLENGER)
            serving.report(one, failed=True)
        place.service.loses_answers = 100
        serving.report_outcomes()
        assert serving.standing().batches_waiting == 1
        place.service.loses_answers = 0
        serving.report_outcomes()
        assert (serving.standing().batches_waiting, serving.standing().batches_given_up) == (0, 0)
    assert {arm: place.service.outcomes(arm) for arm in Arm} == {arm: number_of(chosen, arm) for arm in Arm}
    assert [place.service.outcomes(arm, "errors") for arm in Arm] == [0, number_of(chosen, CHALLENGER)]


_KILLED = """
import os, signal, sys
from pathlib import Path
from aiinfra_core.client import Client
from tests.simulators.serving_place import UNITS
from aiinfra_core.artifact_store import Location
from aiinfra_core.serving import Serving
from tests.simulators.routings import ENVIRONMENT, MODEL, Clock
from tests.simulators.trust_files import trust_of, trusted

url, store, cache, moment = sys.argv[1:]
client = Client(url, timeout=5, deadline=0.3)
given = {"client": client, "trust": trust_of(trusted("ci")), "places": [Location(store, None)], "cache": Path(cache)}
serving = Serving(MODEL, ENVIRONMENT, clock=Clock(), poll_seconds=3600, **given)
serving.start()
for unit in UNITS:
    serving.report(serving.choose(unit))
serving._outcomes.seal()
if moment == "answered":
    serving._outcomes.outbox._forget = lambda batch: os.kill(os.getpid(), signal.SIGKILL)
    serving._outcomes.outbox.send(client.observe)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", ["sealed", "answered"])
def test_a_process_that_is_killed_leaves_its_outcomes_to_the_next_one_and_none_counts_twice(place: Place, moment: str) -> None:
    place.shares()
    given = [place.service.url, place.store.root, str(place.cache), moment]
    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", _KILLED, *given], env=variables, check=False).returncode == -signal.SIGKILL
    assert len(place.service.taken) == (moment == "answered")
    with place.serving() as serving:
        assert serving.standing().batches_waiting == 1
    assert sum(place.service.outcomes(arm) for arm in Arm) == len(UNITS)
    assert not list(place.cache.rglob("outcomes/*"))


def test_users_are_reported_by_a_digest_each_once_however_often_they_came(place: Place) -> None:
    place.shares(unit=Unit.USER)
    with place.serving() as serving:
        for turn in range(3):
            for unit in UNITS[:10]:
                serving.report(serving.choose(unit), failed=turn == 1 and unit == "user-3", seconds=0.001 * (turn + 1))
        for unit, wrong in (("user-4", True), ("user-4", False), ("user-5", False), ("user-5", True)):
            serving.label(serving.peek(unit), wrong=wrong)
        serving.report_outcomes()
        expected = {unit: arm.value for unit, arm in arms(serving).items() if unit in UNITS[:10]}
        digests = {serving.peek(unit).unit: unit for unit in UNITS[:10]}
    (body,) = place.service.taken.values()
    assert {digests[one["user"]]: one["arm"] for one in body["users"]} == expected
    assert [digests[one["user"]] for one in body["users"] if one["failed"]] == ["user-3"]
    assert [digests[one["user"]] for one in body["users"] if one["labelled"] and one["wrong"]] == ["user-4"]
    assert {one["slowest"] for one in body["users"]} == {12}
    assert body["counts"] == []


def test_a_step_is_reported_under_the_step_it_was_routed_at(place: Place) -> None:
    place.shares()
    with place.serving() as serving:
        early = serving.choose("user-1")
        place.shares(changes=2, step=1)
        serving.refresh()
        serving.report(serving.choose("user-1"))
        serving.report(early)
    assert sorted((body["step"], sum(one["units"] for one in body["counts"])) for body in place.service.taken.values()) == [(0, 1), (1, 1)]


def test_a_block_that_raises_is_a_request_that_failed(place: Place) -> None:
    place.shares()
    with place.serving() as serving:
        with serving.answering("user-1"):
            pass
        with pytest.raises(RuntimeError), serving.answering("user-1"):
            raise RuntimeError
    assert (sum(map(place.service.outcomes, Arm)), sum(place.service.outcomes(arm, "errors") for arm in Arm)) == (2, 1)


def test_a_process_reports_as_itself_also_where_what_it_serves_with_was_made_before_it_forked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.shares()
    with place.serving() as serving:
        for pid in (11, 12):
            monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
            serving.report(serving.choose("user-1"))
            serving.report_outcomes()
    assert [body["reporter"].rsplit(":")[-1] for body in place.service.taken.values()] == ["11", "12"]


def test_what_waits_is_bounded_and_the_oldest_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    place.shares()
    with place.serving() as serving:
        place.service.down = True
        for unit in UNITS[:5]:
            serving.report(serving.choose(unit))
            serving.report_outcomes()
        assert (serving.standing().batches_waiting, serving.standing().batches_given_up) == (3, 2)
        assert len(list(place.cache.rglob("outcomes/*.json"))) == 3


def test_where_nobody_asks_it_says_now_and_then_that_it_is_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.shares(weight=5000)
    with place.serving() as serving:
        serving.report_outcomes()
        assert place.service.taken == {}
        monkeypatch.setattr(outcomes, "QUIET_SECONDS", 0.0)
        serving.report_outcomes()
        assert [(body["counts"], body["users"]) for body in place.service.taken.values()] == [([], [])]
        place.says(routed(place.champion, changes=2))
        serving.refresh()
        serving.report_outcomes()
        assert len(place.service.taken) == 1


def test_it_asks_by_itself_and_follows_what_the_service_says(place: Place) -> None:
    with place.serving(poll_seconds=0.02) as serving:
        assert serving.peek("user-1").arm is CHAMPION
        place.shares(weight=9999)
        assert followed(serving, CHALLENGER)
        asked = place.service.asked
        assert serving.report(serving.choose("user-1"))
        assert until(lambda: place.service.outcomes(CHALLENGER) == 1)
        assert until(lambda: place.service.asked > asked)


def followed(serving: Serving, arm: Arm) -> bool:
    return until(lambda: serving.peek("user-1").arm is arm)
