"""Moves of rollouts: one statement each for the rollout, its promotion, the pointer and the event; whoever comes late changes nothing."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from aiinfra_core import database, promoting, verifying
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.domain.rollout import Action, Judgement, Look, Rollout, RolloutStatus, Verdict
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import applying, dossier, rollout_moves, rollouts
from aiinfra_core.registry.rollout_moves import Ordered, Row
from aiinfra_core.rolling_out import ordering
from aiinfra_core.settings import Settings
from tests.simulators import approvers, open_rollouts
from tests.simulators.open_rollouts import SPEC, begun, now, pointer_of, promotion_of

ROUNDS = range(4)


def _look(rollout: Rollout, verdict: Verdict = Verdict.HOLD) -> Look:
    judged = Judgement(signals=(), sample_ratio=0.0, sample_ratio_at=6.9)
    said = {"number": rollout.looks + 1, "step": rollout.step, "weight": rollout.weight, "readings": ()}
    return Look(**said, judged=judged, verdict=verdict, reason="so it looks", created_at=datetime.now(UTC))


def _ordered(settings: Settings, rollout: Rollout, action: Action) -> Ordered:
    return ordering.signed(settings, ordering.Asked(rollout.id, action, "because", "olga", None), rollout)


def _moved(settings: Settings, rollout: Rollout, move: Callable[..., Row | None], *said: Any, **more: Any) -> Row | None:
    with database.transaction(settings) as tx:
        return move(tx, rollouts.row_of(tx, rollout.id), *said, **more, at=datetime.now(UTC))


def _events(settings: Settings) -> list[str]:
    keep_up(settings)
    with database.autocommit(settings) as connection:
        return list(connection.execute(select(audit_events.c.event_type).order_by(audit_events.c.seq)).scalars())


def _at_once(*calls: Callable[[], object]) -> list[object]:
    barrier, done = threading.Barrier(len(calls)), [None] * len(calls)

    def run(number: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        done[number] = call()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return list(done)


def _approved(settings: Settings, content: str, **asked: Any) -> Row:
    """Return the row of a promotion that may be applied now."""
    artifact = approvers.registered(settings, content)
    request = {"artifact": str(artifact.id), "environment": "prod", "evaluation": {"quality": 0.9}, "requested_by": "paul"}
    promotion_id = promoting.request_promotion(settings, PromotionRequest(**request | asked))
    for step in (promoting.verify_artifact, promoting.decide, promoting.sign_manifest):
        step(settings, promotion_id)
    with database.autocommit(settings) as connection:
        return dossier.of_promotion(connection, promotion_id).row


def test_the_champion_stays_current_while_its_challenger_earns_its_traffic(settings: Settings) -> None:
    rollout = begun(settings)
    pointer = pointer_of(settings, rollout)
    assert (pointer.sequence, pointer.changes, pointer.rollout_id) == (1, 1, rollout.id)
    assert pointer.promotion_id == rollout.champion
    assert promotion_of(settings, rollout).status is PromotionStatus.ROLLING_OUT
    assert (rollout.status, rollout.step, rollout.weight, rollout.looks) == (RolloutStatus.RUNNING, 0, 1000, 0)
    assert rollout.spec_digest == SPEC.digest()
    assert _events(settings)[-1] == "rollout.started"


def test_a_challenger_with_all_traffic_is_current_as_any_promotion_that_was_applied(settings: Settings) -> None:
    rollout = begun(settings)
    _moved(settings, rollout, rollout_moves.hold, _look(rollout), heard_at=datetime.now(UTC), frozen={"latency": 0.25})
    held = now(settings, rollout)
    assert (held.looks, held.frozen, held.step) == (1, {"latency": 0.25}, 0)
    _moved(settings, rollout, rollout_moves.advance, look=_look(held, Verdict.ADVANCE))
    advanced = now(settings, rollout)
    assert (advanced.step, advanced.weight, advanced.looks, pointer_of(settings, rollout).changes) == (1, 5000, 2, 2)
    assert advanced.step_started_at == advanced.heard_at > rollout.step_started_at
    _moved(settings, rollout, rollout_moves.complete, look=_look(advanced, Verdict.ADVANCE))
    done, pointer, promotion = now(settings, rollout), pointer_of(settings, rollout), promotion_of(settings, rollout)
    assert (done.status, done.weight, done.step, done.reason) == (RolloutStatus.COMPLETED, 10_000, 2, "so it looks")
    assert (pointer.sequence, pointer.changes, pointer.rollout_id, pointer.promotion_id) == (2, None, None, promotion.id)
    assert (promotion.status, promotion.applied_at) == (PromotionStatus.APPLIED, done.ended_at)
    assert _events(settings)[-4:] == ["rollout.held", "rollout.advanced", "rollout.completed", "promotion.applied"]
    assert verifying.verify_history(settings).findings == []


@pytest.mark.parametrize("status", sorted(rollout_moves.ENDS))
def test_a_rollout_that_ends_otherwise_leaves_the_champion_with_all_traffic(settings: Settings, status: RolloutStatus) -> None:
    rollout = begun(settings)
    event, became = rollout_moves.ENDS[status]
    _moved(settings, rollout, rollout_moves.end, status, "no good")
    pointer, promotion = pointer_of(settings, rollout), promotion_of(settings, rollout)
    assert (pointer.sequence, pointer.changes, pointer.rollout_id, pointer.promotion_id) == (1, 2, None, rollout.champion)
    assert (promotion.status, promotion.reason, promotion.applied_at) == (became, "no good", None)
    assert (now(settings, rollout).status, now(settings, rollout).weight) == (status, 0)
    assert _events(settings)[-1] == event
    assert verifying.verify_history(settings).findings == []


def test_what_was_ordered_is_kept_with_its_signed_statement(settings: Settings) -> None:
    rollout = begun(settings)
    pause = _ordered(settings, rollout, Action.PAUSE)
    assert _moved(settings, rollout, rollout_moves.steer, pause) is not None
    assert _moved(settings, rollout, rollout_moves.steer, _ordered(settings, rollout, Action.PAUSE)) is None
    assert now(settings, rollout).status is RolloutStatus.PAUSED
    _moved(settings, rollout, rollout_moves.advance, order=_ordered(settings, rollout, Action.ADVANCE))
    assert (now(settings, rollout).status, now(settings, rollout).step) == (RolloutStatus.PAUSED, 1)
    _moved(settings, rollout, rollout_moves.complete, order=_ordered(settings, rollout, Action.ADVANCE))
    with database.autocommit(settings) as connection:
        assert [order.action for order in rollouts.orders(connection, rollout.id)] == [Action.PAUSE, Action.ADVANCE, Action.ADVANCE]
    assert now(settings, rollout).reason == "ordered by olga: because"
    assert promotion_of(settings, rollout).status is PromotionStatus.APPLIED
    assert verifying.verify_history(settings).findings == []


def test_whoever_saw_a_rollout_before_it_moved_changes_nothing(settings: Settings) -> None:
    rollout = begun(settings)
    with database.autocommit(settings) as connection:
        seen, at = rollouts.row_of(connection, rollout.id), datetime.now(UTC)
        assert rollout_moves.hold(connection, seen, _look(rollout), heard_at=at, frozen=None, at=at)
        before = _events(settings)
        assert rollout_moves.hold(connection, seen, _look(rollout), heard_at=at, frozen=None, at=at) is None
        assert rollout_moves.advance(connection, seen, look=_look(rollout), at=at) is None
        assert rollout_moves.complete(connection, seen, look=_look(rollout), at=at) is None
        assert rollout_moves.end(connection, seen, RolloutStatus.ABORTED, "why", at=at) is None
    assert _events(settings) == before
    assert (now(settings, rollout).looks, pointer_of(settings, rollout).changes) == (1, 1)


def test_a_clock_that_goes_back_leaves_rows_as_their_events_tell(settings: Settings) -> None:
    row = _approved(settings, "first")
    with database.autocommit(settings) as connection:
        applied = applying.apply(connection, row, at=row["updated_at"] - timedelta(hours=1))
    assert applied["status"] == PromotionStatus.APPLIED
    rollout = open_rollouts.rolling_out(settings, open_rollouts.promoted(settings, approvers.registered(settings, "second"), rollout=SPEC))
    with database.autocommit(settings) as connection:
        seen = rollouts.row_of(connection, rollout.id)
        assert rollout_moves.complete(connection, seen, look=_look(rollout), at=seen["updated_at"] - timedelta(hours=1))
    assert verifying.verify_history(settings).findings == []


def test_a_plain_promotion_and_two_that_start_at_once_make_one_of_them_the_only_one(settings: Settings) -> None:
    open_rollouts.promoted(settings, approvers.registered(settings, "champion"))
    for number in ROUNDS:
        plain = _approved(settings, f"plain-{number}")
        rolling = [_approved(settings, f"rolling-{number}-{one}", rollout=SPEC) for one in range(2)]
        ended = _at_once(*(lambda row=row: promoting.apply_promotion(settings, row["id"]) for row in (plain, *rolling)))
        statuses = sorted(one.status for one in ended)  # type: ignore[attr-defined]
        assert statuses in (["applied", "superseded", "superseded"], ["rolling_out", "superseded", "superseded"])
        if "rolling_out" in statuses:
            started = next(one for one in ended if one.status is PromotionStatus.ROLLING_OUT)  # type: ignore[attr-defined]
            rollout = open_rollouts.rolling_out(settings, started)  # type: ignore[arg-type]
            assert all(str(rollout.id) in (one.reason or "") for one in ended if one is not started)  # type: ignore[attr-defined]
            _moved(settings, rollout, rollout_moves.end, RolloutStatus.ABORTED, "the next round")
    assert verifying.verify_history(settings).findings == []


def test_a_rollout_that_is_completed_and_aborted_at_once_ends_one_way(settings: Settings) -> None:
    rollout = begun(settings)
    for number in ROUNDS:
        complete = lambda one=rollout: _moved(settings, one, rollout_moves.complete, look=_look(one))  # noqa: E731
        order = _ordered(settings, rollout, Action.ABORT)
        abort = lambda one=rollout, told=order: _moved(settings, one, rollout_moves.end, RolloutStatus.ABORTED, "why", order=told)  # noqa: E731
        completed, aborted = _at_once(complete, abort)
        assert (completed is None) != (aborted is None)
        expected = PromotionStatus.APPLIED if completed else PromotionStatus.REJECTED
        assert promotion_of(settings, rollout).status is expected
        again = open_rollouts.promoted(settings, approvers.registered(settings, f"next-{number}"), rollout=SPEC)
        rollout = open_rollouts.rolling_out(settings, again)
    assert verifying.verify_history(settings).findings == []
