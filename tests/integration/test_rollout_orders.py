"""What people order about a rollout: done once, signed in their name, and never more than may be done."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import text

from aiinfra_core import database, rolling_out, verifying
from aiinfra_core.domain.rollout import Action, Rollout, RolloutOrder, RolloutStatus, Verdict
from aiinfra_core.errors import BadInput, Conflict, Outdated, RequestIdReused
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.rollout_predicates import RolloutOrder as Statement
from aiinfra_core.registry import artifacts, attestations, rollouts
from aiinfra_core.settings import Settings
from tests.simulators.open_rollouts import LIKE_IT, SPEC, WORSE, begun, looks_at, now, observe, pointer_of, promotion_of

_LOCK = text("SELECT id FROM rollouts WHERE id = :rollout FOR UPDATE")
_HERE = "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
_WAITING = text(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN ({_HERE})")


# A transaction sees who is connected as it was when it first looked.
def _waiting(settings: Settings) -> int:
    with database.transaction(settings) as tx:
        return int(tx.execute(_WAITING).scalar_one())


def _ordered(
    settings: Settings, rollout: Rollout, action: Action, request_id: str | None = None, reason: str = "we see", step: int | None = None
) -> Rollout:
    return rolling_out.order(settings, rollout.id, action, reason=reason, ordered_by="olga", request_id=request_id, step=step)


def _orders(settings: Settings, rollout: Rollout) -> list[RolloutOrder]:
    with database.autocommit(settings) as connection:
        return rollouts.orders(connection, rollout.id)


def _check_history(settings: Settings) -> None:
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


def test_a_paused_rollout_does_not_advance_and_still_goes_back(settings: Settings) -> None:
    rollout = begun(settings)
    assert _ordered(settings, rollout, Action.PAUSE).status is RolloutStatus.PAUSED
    observe(settings, rollout, LIKE_IT[0])
    held = rolling_out.look_at(settings, rollout.id)
    assert held is not None
    assert (held.verdict, now(settings, rollout).step) == (Verdict.HOLD, 0)
    observe(settings, rollout, {"champion": (9000, 90), "challenger": (1000, 400)})
    rolling_out.look_at(settings, rollout.id)
    assert now(settings, rollout).status is RolloutStatus.ROLLED_BACK
    _check_history(settings)


def test_a_rollout_that_is_resumed_goes_on(settings: Settings) -> None:
    rollout = begun(settings)
    for action, status in ((Action.PAUSE, "paused"), (Action.PAUSE, "paused"), (Action.RESUME, "running"), (Action.RESUME, "running")):
        assert _ordered(settings, rollout, action).status == status
    assert [order.action for order in _orders(settings, rollout)] == ["pause", "resume"]
    observe(settings, rollout, LIKE_IT[0])
    rolling_out.look_at(settings, rollout.id)
    assert now(settings, rollout).step == 1


def test_an_order_is_signed_with_who_ordered_what(settings: Settings) -> None:
    rollout = begun(settings)
    _ordered(settings, rollout, Action.PAUSE, reason="the dashboard is red")
    (order,) = _orders(settings, rollout)
    with database.autocommit(settings) as connection:
        envelope = attestations.envelope(connection, order.attestation)
    said = statement.parse(dsse.parse(envelope).payload).predicate
    assert isinstance(said, Statement)
    assert (said.rollout_id, said.action, said.step, said.ordered_by) == (str(rollout.id), "pause", 0, "olga")
    assert said.manifest == promotion_of(settings, rollout).manifest
    assert (order.reason, order.ordered_by) == ("the dashboard is red", "olga")


def test_advancing_by_hand_skips_the_evidence_and_ends_with_all_traffic(settings: Settings) -> None:
    rollout = begun(settings)
    assert _ordered(settings, rollout, Action.ADVANCE, step=0).weight == 5000
    done = _ordered(settings, rollout, Action.ADVANCE, step=1)
    assert (done.status, done.weight, promotion_of(settings, rollout).status) == ("completed", 10_000, "applied")
    assert pointer_of(settings, rollout).promotion_id == rollout.promotion_id
    assert [look.verdict for look in looks_at(settings, rollout)] == [Verdict.HOLD, Verdict.HOLD]
    assert [order.step for order in _orders(settings, rollout)] == [0, 1]
    _check_history(settings)


def test_advancing_by_hand_does_not_skip_the_verification_of_the_bytes(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"weights": (10.0, 100.0)}))
    with database.autocommit(settings) as connection:
        artifact = artifacts.find(connection, str(promotion_of(settings, rollout).artifact_id))
    Path(unquote(urlsplit(artifact.artifact_uri).path)).write_text("something else")
    with pytest.raises(BadInput, match="digest"):
        _ordered(settings, rollout, Action.ADVANCE, step=0)
    assert (now(settings, rollout).status, _orders(settings, rollout)) == (RolloutStatus.RUNNING, [])
    assert pointer_of(settings, rollout).promotion_id == rollout.champion


@pytest.mark.parametrize(
    ("action", "status", "promotion"), [(Action.ABORT, "aborted", "rejected"), (Action.ROLLBACK, "rolled_back", "rolled_back")]
)
def test_a_person_returns_all_traffic_to_the_champion(settings: Settings, action: Action, status: str, promotion: str) -> None:
    rollout = begun(settings)
    ended = _ordered(settings, rollout, action)
    assert (ended.status, ended.weight, promotion_of(settings, rollout).status) == (status, 0, promotion)
    assert "olga: we see" in (ended.reason or "")
    assert (pointer_of(settings, rollout).promotion_id, pointer_of(settings, rollout).rollout_id) == (rollout.champion, None)
    assert _ordered(settings, rollout, action) == ended
    with pytest.raises(Conflict, match="is over"):
        _ordered(settings, rollout, Action.ADVANCE, step=0)
    assert len(_orders(settings, rollout)) == 1
    _check_history(settings)


def test_the_same_request_is_done_once_and_stands_for_nothing_else(settings: Settings) -> None:
    rollout = begun(settings)
    for _ in range(3):
        assert _ordered(settings, rollout, Action.ADVANCE, "one", step=0).step == 1
    _ordered(settings, rollout, Action.PAUSE, "two")
    assert [order.request_id for order in _orders(settings, rollout)] == ["one", "two"]
    with pytest.raises(RequestIdReused):
        _ordered(settings, rollout, Action.ABORT, "one")


@pytest.mark.parametrize(("reason", "request_id"), [("", None), (" \n", None), ("x" * 1001, None), ("a\x00b", None), ("why", "two words")])
def test_an_order_that_cannot_be_recorded_is_refused(settings: Settings, reason: str, request_id: str | None) -> None:
    rollout = begun(settings)
    with pytest.raises(BadInput):
        _ordered(settings, rollout, Action.PAUSE, request_id, reason)
    assert now(settings, rollout) == rollout


def _at_once(*calls: Callable[[], object]) -> list[Exception]:
    errors: list[Exception] = []
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        together.wait()
        try:
            call()
        except Conflict as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.parametrize("attempt", range(4))
def test_a_rollback_during_an_advance_leaves_one_of_the_two(settings: Settings, attempt: int) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"weights": (10.0, 100.0)}))
    observe(settings, rollout, LIKE_IT[0])
    _at_once(lambda: rolling_out.look_at(settings, rollout.id), lambda: _ordered(settings, rollout, Action.ROLLBACK))
    ended, pointer, promotion = now(settings, rollout), pointer_of(settings, rollout), promotion_of(settings, rollout)
    completed = (RolloutStatus.COMPLETED, "applied", rollout.promotion_id)
    back = (RolloutStatus.ROLLED_BACK, "rolled_back", rollout.champion)
    assert (ended.status, promotion.status, pointer.promotion_id) in (completed, back)
    assert pointer.rollout_id is None
    _check_history(settings)


def test_of_several_that_want_to_end_the_same_step_one_does(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"weights": (1.0, 5.0, 10.0, 20.0, 50.0, 100.0)}))
    errors: list[str] = []

    def advance() -> None:
        try:
            _ordered(settings, rollout, Action.ADVANCE, step=0)
        except Outdated as error:
            errors.append(str(error))

    threads = [threading.Thread(target=advance) for _ in range(3)]
    with database.transaction(settings) as tx:
        tx.execute(_LOCK, {"rollout": rollout.id})
        for thread in threads:
            thread.start()
        while _waiting(settings) < len(threads):  # all of them saw the same step by then
            time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert (now(settings, rollout).step, len(_orders(settings, rollout))) == (1, 1)
    assert [f"Rollout {rollout.id} is at step 2 (5 %), not at step 1; look at it and order again."] * 2 == errors


def test_one_request_sent_many_times_at_once_is_one_order(settings: Settings) -> None:
    rollout = begun(settings)
    assert _at_once(*(lambda: _ordered(settings, rollout, Action.ADVANCE, "same", step=0) for _ in range(5))) == []
    assert (now(settings, rollout).step, len(_orders(settings, rollout))) == (1, 1)


def test_a_look_that_comes_between_does_not_lose_an_order(settings: Settings) -> None:
    rollout = begun(settings)
    observe(settings, rollout, WORSE | {"challenger": (100, 1)})
    looks = [lambda: rolling_out.look_at(settings, rollout.id)] * 3
    assert _at_once(*looks, lambda: _ordered(settings, rollout, Action.PAUSE, "once")) == []
    assert now(settings, rollout).status is RolloutStatus.PAUSED
    _check_history(settings)
