"""Observations that serving processes post: counted once, for the step they are of, and read as what a look can use."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from aiinfra_core import database
from aiinfra_core.domain.latency import MOST_BIN, bin_of, upper_seconds
from aiinfra_core.domain.rollout import Arm, Counts, Heard, Reading, Rollout, RolloutStatus
from aiinfra_core.domain.rollout_spec import RolloutSpec, SignalKind, SignalSpec, Unit
from aiinfra_core.errors import BadInput, RequestIdReused, Unavailable
from aiinfra_core.registry import observations, rollout_moves, rollouts
from aiinfra_core.settings import Settings
from aiinfra_core.wire.observations import AskedObservations, ObservedCounts, ObservedUser
from tests.simulators import open_rollouts
from tests.simulators.open_rollouts import ERRORS, begun
from tests.simulators.postgres import made_database

LATENCY = SignalSpec(name="latency", kind=SignalKind.LATENCY, alpha=0.003)
QUALITY = SignalSpec(name="quality", kind=SignalKind.QUALITY, alpha=0.003)
SPEC = RolloutSpec(weights=(10, 50, 100), signals=(ERRORS, LATENCY, QUALITY))
FAST, SLOW = bin_of(0.05), bin_of(0.4)


@pytest.fixture(scope="module")
def settings(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("observations")
    with made_database(postgres_server, migrated_template) as url:
        places = {"home": folder / "home", "artifact_root": (folder / "artifacts").as_uri()}
        yield Settings(AI_INFRA_DATABASE_URL=url, signer_key_b64="wQ" + "A" * 41 + "=", signer_id="test", **places)


@pytest.fixture
def rollout(settings: Settings, request: pytest.FixtureRequest) -> Rollout:
    return begun(settings, SPEC, model=request.node.name.replace("_", "-"))


@pytest.fixture
def of_users(settings: Settings, request: pytest.FixtureRequest) -> Rollout:
    return begun(settings, SPEC.model_copy(update={"unit": Unit.USER}), model=request.node.name.replace("_", "-"))


def batch(*counts: ObservedCounts, step: int = 0, name: UUID | None = None, users: tuple[ObservedUser, ...] = ()) -> AskedObservations:
    return AskedObservations(batch=name or uuid4(), reporter="server-1", step=step, counts=counts, users=users)


def counts(arm: str, units: int, errors: int = 0, **more: Any) -> ObservedCounts:
    return ObservedCounts(arm=Arm(arm), units=units, errors=errors, **more)


def user(number: int, arm: str, **more: Any) -> ObservedUser:
    return ObservedUser(user=f"{number:016x}", arm=Arm(arm), **more)


def take(settings: Settings, rollout: Rollout, asked: AskedObservations, at: datetime | None = None) -> bool:
    with database.transaction(settings) as tx:
        return observations.take(tx, rollout, asked, at or datetime.now(UTC), by="sam")


def read(settings: Settings, rollout: Rollout, at: datetime | None = None) -> dict[str, Reading]:
    with database.autocommit(settings) as connection:
        seen = observations.observed(connection, [rollout])[rollout.id]
        each = {one.name: observations.reading_of(seen, rollout, one, at or datetime.now(UTC)) for one in rollout.spec.signals}
        assert each == {one.name: observations.read(connection, rollout, one, at or datetime.now(UTC)) for one in rollout.spec.signals}
    return each


def heard(readings: Mapping[str, Reading]) -> dict[str, Heard]:
    return {name: reading.heard for name, reading in readings.items()}


def test_nothing_posted_is_no_data(settings: Settings, rollout: Rollout) -> None:
    readings = read(settings, rollout)
    assert set(heard(readings).values()) == {Heard.NO_DATA}
    assert readings["errors"].reason == "no observations of this step were posted yet"


def test_batches_of_all_processes_add_up(settings: Settings, rollout: Rollout) -> None:
    now = datetime.now(UTC)
    assert take(settings, rollout, batch(counts("champion", 90, 9), counts("challenger", 10, 2)), now)
    assert take(settings, rollout, batch(counts("champion", 900, 1)), now)
    reading = read(settings, rollout)["errors"]
    assert (reading.heard, reading.champion, reading.challenger) == (Heard.OK, Counts(units=990, bad=10), Counts(units=10, bad=2))
    assert reading.through == now


def test_a_batch_counts_once_however_often_and_by_how_many_it_is_sent(settings: Settings, rollout: Rollout) -> None:
    sent = batch(counts("champion", 90, 9), counts("challenger", 10, 2))
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: take(settings, rollout, sent), range(16)))
    assert sorted(taken) == [False] * 15 + [True]
    assert read(settings, rollout)["errors"].champion == Counts(units=90, bad=9)
    with pytest.raises(RequestIdReused, match="with other observations"):
        take(settings, rollout, batch(counts("champion", 91, 9), name=sent.batch))


def test_batches_at_the_same_time_neither_wait_for_each_other_in_a_circle_nor_lose_a_count(settings: Settings, rollout: Rollout) -> None:
    many = dict.fromkeys(range(MOST_BIN), 1)
    both = (counts("challenger", MOST_BIN, latency=many), counts("champion", MOST_BIN, latency=many))
    sent = [batch(*(both if number % 2 else reversed(both))) for number in range(60)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda one: take(settings, rollout, one), sent))
    assert read(settings, rollout)["errors"].champion == Counts(units=60 * MOST_BIN, bad=0)


def test_a_batch_whose_transaction_breaks_off_counts_when_it_is_sent_again(settings: Settings, rollout: Rollout) -> None:
    sent = batch(counts("champion", 90, 9), counts("challenger", 10, 2))
    with pytest.raises(Unavailable), database.transaction(settings) as tx:
        assert observations.take(tx, rollout, sent, datetime.now(UTC))
        pid = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with database.autocommit(settings) as other:
            other.execute(text("RESET ROLE"))
            other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            other.invalidate()
        tx.execute(text("SELECT 1"))
    assert take(settings, rollout, sent)
    assert read(settings, rollout)["errors"].champion == Counts(units=90, bad=9)


def test_each_step_begins_at_zero_and_what_comes_late_counts_for_none(settings: Settings, rollout: Rollout) -> None:
    take(settings, rollout, batch(counts("champion", 90, 9), counts("challenger", 10, 2)))
    with database.transaction(settings) as tx:
        moved = rollout_moves.advance(tx, rollouts.row_of(tx, rollout.id), at=datetime.now(UTC))
    assert moved is not None
    later = rollouts.rollout_from(moved)
    assert not take(settings, later, batch(counts("champion", 5), counts("challenger", 5)))
    assert heard(read(settings, later))["errors"] is Heard.NO_DATA
    assert take(settings, later, batch(counts("champion", 50), counts("challenger", 50, 1), step=1))
    assert read(settings, later)["errors"].challenger == Counts(units=50, bad=1)
    assert read(settings, rollout)["errors"].challenger == Counts(units=10, bad=2)


def test_a_step_that_has_not_begun_is_refused(settings: Settings, rollout: Rollout) -> None:
    with pytest.raises(BadInput, match="step 1, which this batch is of, has not begun"):
        take(settings, rollout, batch(counts("champion", 5), step=1))


def test_what_comes_after_the_end_is_not_counted(settings: Settings, rollout: Rollout) -> None:
    with database.transaction(settings) as tx:
        row = rollouts.row_of(tx, rollout.id)
        ended = rollout_moves.end(tx, row, RolloutStatus.ROLLED_BACK, "it is worse", at=datetime.now(UTC))
    assert ended is not None
    assert not take(settings, rollouts.rollout_from(ended), batch(counts("champion", 5)))


def test_an_arm_that_was_not_seen_is_no_data(settings: Settings, rollout: Rollout) -> None:
    take(settings, rollout, batch(counts("champion", 5000, 500, latency={FAST: 5000})))
    readings = read(settings, rollout.model_copy(update={"frozen": {"latency": 0.1}}))
    assert set(heard(readings).values()) == {Heard.NO_DATA}
    assert readings["errors"].reason == "nothing was counted of the challenger in this step"


def test_what_stopped_coming_is_late(settings: Settings, rollout: Rollout) -> None:
    now = datetime.now(UTC)
    take(settings, rollout, batch(counts("champion", 90), counts("challenger", 10)), now)
    assert heard(read(settings, rollout, now + timedelta(seconds=179)))["errors"] is Heard.OK
    assert heard(read(settings, rollout, now + timedelta(seconds=181)))["errors"] is Heard.LATE
    take(settings, rollout, batch(), now + timedelta(seconds=170))
    assert heard(read(settings, rollout, now + timedelta(seconds=181)))["errors"] is Heard.OK


def test_a_latency_is_frozen_once_enough_of_the_champion_was_seen(settings: Settings, rollout: Rollout) -> None:
    take(settings, rollout, batch(counts("champion", 199, latency={FAST: 190, SLOW: 9}), counts("challenger", 10, latency={SLOW: 10})))
    few = read(settings, rollout)["latency"]
    assert (few.heard, few.seconds) == (Heard.WARMING_UP, None)
    take(settings, rollout, batch(counts("champion", 1, latency={FAST: 1})))
    known = read(settings, rollout)["latency"]
    assert (known.heard, known.seconds, known.champion) == (Heard.WARMING_UP, upper_seconds(FAST), None)
    reading = read(settings, rollout.model_copy(update={"frozen": {"latency": known.seconds}}))["latency"]
    assert (reading.heard, reading.champion, reading.challenger) == (Heard.OK, Counts(units=200, bad=9), Counts(units=10, bad=10))


def test_seconds_of_the_signal_need_no_freezing(settings: Settings) -> None:
    fixed = begun(settings, SPEC.model_copy(update={"signals": (LATENCY.model_copy(update={"seconds": 0.39}),)}), model="fixed")
    take(settings, fixed, batch(counts("champion", 3, latency={FAST: 2, SLOW + 1: 1}), counts("challenger", 2, latency={SLOW: 2})))
    reading = read(settings, fixed)["latency"]
    assert (reading.champion, reading.challenger) == (Counts(units=3, bad=1), Counts(units=2, bad=0))
    assert reading.seconds == upper_seconds(bin_of(0.39))


def test_a_frozen_bin_stays_the_same_bin() -> None:
    assert [bin_of(upper_seconds(number)) for number in range(MOST_BIN + 1)] == list(range(MOST_BIN + 1))


def test_quality_is_counted_where_it_is_known(settings: Settings, rollout: Rollout) -> None:
    take(settings, rollout, batch(counts("champion", 90, labelled=30, wrong=3), counts("challenger", 10)))
    assert heard(read(settings, rollout))["quality"] is Heard.NO_DATA
    take(settings, rollout, batch(counts("challenger", 0, labelled=4, wrong=1)))
    assert read(settings, rollout)["quality"].challenger == Counts(units=4, bad=1)


def test_a_user_is_one_unit_and_stays_bad(settings: Settings, of_users: Rollout) -> None:
    take(settings, of_users, batch(users=(user(1, "champion", failed=True, slowest=SLOW), user(2, "champion", slowest=FAST))))
    take(settings, of_users, batch(users=(user(1, "champion", slowest=FAST), user(3, "challenger", labelled=True, wrong=True))))
    take(settings, of_users, batch(users=(user(2, "champion", labelled=True), user(3, "challenger", slowest=FAST))))
    readings = read(settings, of_users.model_copy(update={"frozen": {"latency": upper_seconds(FAST)}}))
    found = {name: (reading.champion, reading.challenger) for name, reading in readings.items()}
    assert found == {
        "errors": (Counts(units=2, bad=1), Counts(units=1, bad=0)),
        "latency": (Counts(units=2, bad=1), Counts(units=1, bad=0)),
        "quality": (Counts(units=1, bad=0), Counts(units=1, bad=1)),
    }


def test_a_user_counts_by_the_first_label(settings: Settings, of_users: Rollout) -> None:
    take(settings, of_users, batch(users=(user(1, "champion", labelled=True), user(2, "challenger", labelled=True, wrong=True))))
    take(settings, of_users, batch(users=(user(1, "champion", labelled=True, wrong=True), user(2, "challenger"))))
    take(settings, of_users, batch(users=(user(2, "challenger", labelled=True), user(3, "challenger"))))
    take(settings, of_users, batch(users=(user(3, "challenger", labelled=True, wrong=True),)))
    reading = read(settings, of_users)["quality"]
    assert (reading.champion, reading.challenger) == (Counts(units=1, bad=0), Counts(units=2, bad=2))


def test_a_user_stays_with_the_arm_they_were_first_seen_in(settings: Settings, of_users: Rollout) -> None:
    take(settings, of_users, batch(users=(user(1, "champion"), user(2, "challenger"))))
    take(settings, of_users, batch(users=(user(1, "challenger", failed=True),)))
    reading = read(settings, of_users)["errors"]
    assert (reading.champion, reading.challenger) == (Counts(units=1, bad=0), Counts(units=1, bad=0))


def test_users_are_for_rollouts_that_count_users_and_counts_for_the_others(settings: Settings, rollout: Rollout) -> None:
    with pytest.raises(BadInput, match="counts requests"):
        take(settings, rollout, batch(users=(user(1, "champion"),)))
    users = rollout.model_copy(update={"spec": SPEC.model_copy(update={"unit": Unit.USER})})
    with pytest.raises(BadInput, match="counts users"):
        take(settings, users, batch(counts("champion", 1)))


def test_what_cannot_be_is_not_taken() -> None:
    for wrong in ({"errors": 2}, {"wrong": 1}, {"latency": {3: 2}}, {"units": -1}, {"latency": {MOST_BIN + 1: 1}}):
        with pytest.raises(ValueError, match=r"units|greater|less"):
            ObservedCounts(**{"arm": Arm.CHAMPION, "units": 1} | wrong)
    with pytest.raises(ValueError, match="labelled"):
        user(1, "champion", wrong=True)
    for twice in ({"counts": (counts("champion", 1), counts("champion", 1))}, {"users": (user(1, "champion"), user(1, "challenger"))}):
        with pytest.raises(ValueError, match="once"):
            batch(**twice) if "users" in twice else batch(*twice["counts"])


def test_many_rollouts_are_read_at_once(settings: Settings, rollout: Rollout) -> None:
    others = [begun(settings, SPEC, model) for model in ("hail", "snow")]
    open_rollouts.observe(settings, others[0], {"champion": (90, 9), "challenger": (10, 1)})
    with database.autocommit(settings) as connection:
        seen = observations.observed(connection, [rollout, *others])
    assert [seen[one.id].counts["champion", "units"] for one in (rollout, *others)] == [0, 90, 0]
