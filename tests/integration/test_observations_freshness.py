"""Whether an arm is still seen: who counted it, and who of them still reports, not whether anybody at all does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from aiinfra_core import database, rolling_out
from aiinfra_core.domain.rollout import Arm, Heard, Reading, Rollout, RolloutStatus, Verdict
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec, Unit
from aiinfra_core.registry import observations, rollout_moves, rollouts
from aiinfra_core.settings import Settings
from aiinfra_core.wire.observations import AskedObservations, ObservedCounts, ObservedUser
from tests.simulators.open_rollouts import ERRORS, begun, now
from tests.simulators.postgres import made_database

LATENCY = SignalSpec(name="latency", kind=SignalKind.LATENCY, alpha=0.003)
QUALITY = SignalSpec(name="quality", kind=SignalKind.QUALITY, alpha=0.003)
SPEC = RolloutSpec(weights=(10, 50, 100), bake_minutes=30, signals=(ERRORS, LATENCY, QUALITY))
BEGAN = datetime.now(UTC)
CHAMPION, CHALLENGER = Arm.CHAMPION, Arm.CHALLENGER
LATE = (Heard.LATE, Heard.OK)
"""Of errors and of quality: labels come as late as they come, so that traffic which is counted no more leaves them alone."""


@pytest.fixture(scope="module")
def settings(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("freshness")
    with made_database(postgres_server, migrated_template) as url:
        places = {"home": folder / "home", "artifact_root": (folder / "artifacts").as_uri()}
        yield Settings(AI_INFRA_DATABASE_URL=url, signer_key_b64="wQ" + "A" * 41 + "=", signer_id="test", **places)


@pytest.fixture
def rollout(settings: Settings, request: pytest.FixtureRequest) -> Rollout:
    return begun(settings, SPEC, model=request.node.name.replace("_", "-"))


def at(minutes: float) -> datetime:
    return BEGAN + timedelta(minutes=minutes)


def report(settings: Settings, rollout: Rollout, reporter: str, minutes: float, *arms: Arm, units: int = 100, labelled: int = 10) -> None:
    """Have a reporter say what it counted of some arms, or with none that nobody asked."""
    counts = tuple(ObservedCounts(arm=arm, units=units, errors=0, labelled=labelled) for arm in arms)
    send(settings, rollout, AskedObservations(batch=uuid4(), reporter=reporter, step=rollout.step, counts=counts), minutes)


def send(settings: Settings, rollout: Rollout, asked: AskedObservations, minutes: float) -> None:
    with database.transaction(settings) as tx:
        assert observations.take(tx, rollout, asked, at(minutes))


def read(settings: Settings, rollout: Rollout, minutes: float, signal: SignalSpec = ERRORS) -> Reading:
    with database.autocommit(settings) as connection:
        return observations.read(connection, rollout, signal, at(minutes))


def heard(settings: Settings, rollout: Rollout, minutes: float) -> tuple[Heard, Heard]:
    return read(settings, rollout, minutes).heard, read(settings, rollout, minutes, QUALITY).heard


def test_processes_that_counted_keep_a_quiet_rollout_alive(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "one", 0, CHAMPION, CHALLENGER)
    for minute in range(1, 40):
        report(settings, rollout, "one", minute)
        assert heard(settings, rollout, minute) == (Heard.OK, Heard.OK)
    assert read(settings, rollout, 41).through == at(39)


def test_a_process_that_never_counted_says_nothing_of_the_traffic(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "gone", 0, CHAMPION, CHALLENGER)
    for minute in range(40):
        report(settings, rollout, "idle", minute)
    assert heard(settings, rollout, 2.9) == (Heard.OK, Heard.OK)
    assert heard(settings, rollout, 3.1) == (Heard.LATE, Heard.LATE)
    late = read(settings, rollout, 39)
    assert late.reason == (
        "the champion was counted last 2340 s ago, and of the 1 that counted it then 0 still report; more than 180 s is too old"
    )


def test_a_rollout_does_not_go_on_by_what_was_counted_before_those_who_counted_went_away(settings: Settings) -> None:
    rollout = begun(settings, RolloutSpec(weights=(50, 100), bake_minutes=30, signals=(ERRORS,)), model="crashing")
    counts = tuple(ObservedCounts(arm=arm, units=50_000, errors=500) for arm in Arm)
    begin = (rollout.created_at - BEGAN) / timedelta(minutes=1)
    send(settings, rollout, AskedObservations(batch=uuid4(), reporter="gone", step=0, counts=counts), begin)
    verdicts = []
    for minute in (1, 5, 10, 17):
        report(settings, rollout, "idle", begin + minute)
        look = rolling_out.look_at(settings, rollout.id, at(begin + minute))
        verdicts.append(look and look.verdict)
    assert verdicts == [Verdict.HOLD, Verdict.HOLD, Verdict.HOLD, Verdict.INCONCLUSIVE]
    assert now(settings, rollout).status is RolloutStatus.INCONCLUSIVE


def test_an_arm_that_is_counted_no_more_is_noticed_while_the_other_is(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "of-champion", 0, CHAMPION)
    report(settings, rollout, "of-challenger", 0, CHALLENGER)
    for minute in range(1, 6):
        report(settings, rollout, "of-champion", minute, CHAMPION)
    late = read(settings, rollout, 5)
    assert (late.heard, (late.reason or "")[:31]) == (Heard.LATE, "the challenger was counted last")


def test_quiet_is_believed_of_those_who_counted_most(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "small", 0, CHAMPION, CHALLENGER, units=40)
    report(settings, rollout, "middle", 0, CHAMPION, CHALLENGER, units=45)
    report(settings, rollout, "large", 0, CHAMPION, CHALLENGER, units=60)
    for minute in (1, 2, 3, 4):
        report(settings, rollout, "small", minute)
        report(settings, rollout, "middle", minute)
    assert heard(settings, rollout, 5) == (Heard.OK, Heard.OK)
    for minute in (5, 6, 7, 8):
        report(settings, rollout, "small", minute)
    assert heard(settings, rollout, 8) == LATE
    report(settings, rollout, "large", 8)
    assert heard(settings, rollout, 8) == (Heard.OK, Heard.OK)


def test_half_of_what_was_counted_is_not_most(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "stays", 0, CHAMPION, CHALLENGER)
    report(settings, rollout, "goes", 0, CHAMPION, CHALLENGER)
    report(settings, rollout, "stays", 4)
    assert heard(settings, rollout, 4) == LATE


def test_processes_that_were_replaced_while_there_was_traffic_are_not_waited_for(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "old", 0, CHAMPION, CHALLENGER, units=10_000)
    report(settings, rollout, "new", 10, CHAMPION, CHALLENGER, units=1)
    report(settings, rollout, "new", 14)
    assert heard(settings, rollout, 15) == (Heard.OK, Heard.OK)


def test_what_was_reported_in_a_step_says_nothing_of_the_next(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "one", 0, CHAMPION, CHALLENGER)
    with database.transaction(settings) as tx:
        moved = rollout_moves.advance(tx, rollouts.row_of(tx, rollout.id), at=at(1))
    assert moved is not None
    later = rollouts.rollout_from(moved)
    assert read(settings, later, 1).reason == "no observations of this step were posted yet"
    report(settings, later, "one", 1)
    assert read(settings, later, 1).reason == "nothing was counted of the champion in this step"
    report(settings, later, "two", 1, CHAMPION, CHALLENGER)
    report(settings, later, "one", 4)
    assert heard(settings, later, 5) == (Heard.LATE, Heard.LATE)


def test_what_is_slow_is_not_waited_for_where_nobody_counts_the_champion(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "idle", 0)
    assert read(settings, rollout, 0, LATENCY).heard is Heard.NO_DATA
    report(settings, rollout, "one", 0, CHAMPION)
    assert (read(settings, rollout, 0, LATENCY).heard, read(settings, rollout, 4, LATENCY).heard) == (Heard.WARMING_UP, Heard.LATE)


def test_labels_that_come_by_themselves_are_heard(settings: Settings, rollout: Rollout) -> None:
    report(settings, rollout, "labels", 0, CHAMPION, CHALLENGER, units=0)
    report(settings, rollout, "labels", 4)
    assert heard(settings, rollout, 5) == (Heard.NO_DATA, Heard.OK)


def test_users_are_counted_like_requests(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"unit": Unit.USER}), model="users")
    users = tuple(ObservedUser(user=f"{number:016x}", arm=arm) for number, arm in enumerate(Arm))
    send(settings, rollout, AskedObservations(batch=uuid4(), reporter="one", step=0, users=users), 0)
    report(settings, rollout, "idle", 4)
    assert read(settings, rollout, 4).heard is Heard.LATE
    report(settings, rollout, "one", 4)
    assert read(settings, rollout, 4).heard is Heard.OK
