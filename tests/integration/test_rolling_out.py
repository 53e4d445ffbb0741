"""Looks at real rollouts: what is observed is judged, kept, and moves traffic or not; nothing unclear moves anything."""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import text

from aiinfra_core import database, rolling_out, verifying
from aiinfra_core.artifact_store import recorded
from aiinfra_core.domain.promotion import PromotionStatus
from aiinfra_core.domain.rollout import Heard, Rollout, RolloutStatus, Verdict
from aiinfra_core.domain.rollout_spec import SignalKind, SignalSpec
from aiinfra_core.errors import NotFound, Unavailable
from aiinfra_core.registry import artifacts
from aiinfra_core.rolling_out import beside
from aiinfra_core.settings import Settings
from tests.simulators import approvers, open_rollouts
from tests.simulators.open_rollouts import LIKE_IT, SPEC, WORSE, begun, looks_at, now, observe, pointer_of, promotion_of

LATENCY = SignalSpec(name="latency", kind=SignalKind.LATENCY, alpha=0.003)


def _check_history(settings: Settings) -> None:
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


def _bytes_of(settings: Settings, artifact_id: object) -> Path:
    with database.autocommit(settings) as connection:
        return Path(unquote(urlsplit(artifacts.find(connection, str(artifact_id)).artifact_uri).path))


def _wait_until_it_ends(settings: Settings, rollout: Rollout) -> None:
    end = time.monotonic() + 10
    while pointer_of(settings, rollout).rollout_id and time.monotonic() < end:
        time.sleep(0.05)


def test_a_challenger_like_the_champion_earns_all_traffic_and_is_applied(settings: Settings) -> None:
    rollout = begun(settings)
    champion = pointer_of(settings, rollout)
    assert (champion.promotion_id, champion.rollout_id, rollout.weight) == (rollout.champion, rollout.id, 1000)
    observe(settings, rollout, LIKE_IT[0])
    look = rolling_out.look_at(settings, rollout.id)
    assert look is not None
    assert (look.number, look.verdict) == (1, Verdict.ADVANCE)
    rollout = now(settings, rollout)
    assert (rollout.step, rollout.weight, rollout.status, pointer_of(settings, rollout).artifact_id) == (
        1,
        5000,
        RolloutStatus.RUNNING,
        champion.artifact_id,
    )
    observe(settings, rollout, LIKE_IT[1])
    rolling_out.look_at(settings, rollout.id)
    rollout, pointer = now(settings, rollout), pointer_of(settings, rollout)
    assert (rollout.status, rollout.weight, promotion_of(settings, rollout).status) == ("completed", 10_000, "applied")
    assert (pointer.promotion_id, pointer.sequence, pointer.rollout_id) == (rollout.promotion_id, champion.sequence + 1, None)
    assert rolling_out.look_at(settings, rollout.id) is None
    assert [look.verdict for look in looks_at(settings, rollout)] == ["advance", "advance"]
    _check_history(settings)


def test_a_worse_challenger_goes_back_and_the_champion_never_stopped_being_current(settings: Settings) -> None:
    rollout = begun(settings)
    before = pointer_of(settings, rollout)
    observe(settings, rollout, WORSE)
    look = rolling_out.look_at(settings, rollout.id)
    assert look is not None
    rollout, after = now(settings, rollout), pointer_of(settings, rollout)
    assert (look.verdict, rollout.status, rollout.weight, rollout.reason) == (Verdict.ROLLBACK, "rolled_back", 0, look.reason)
    assert promotion_of(settings, rollout).status is PromotionStatus.ROLLED_BACK
    assert (after.promotion_id, after.sequence, after.rollout_id) == (before.promotion_id, before.sequence, None)
    assert (after.changes or 0) > (before.changes or 0)
    _check_history(settings)


def test_a_challenger_that_is_down_goes_back_at_once(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"bake_minutes": 60.0}))
    observe(settings, rollout, {"champion": (190, 0), "challenger": (20, 10)})
    look = rolling_out.look_at(settings, rollout.id)
    assert look is not None
    assert (look.verdict, now(settings, rollout).status) == (Verdict.ROLLBACK, RolloutStatus.ROLLED_BACK)


def test_where_nothing_is_observed_a_rollout_holds_and_then_ends_without_a_verdict_against_the_challenger(settings: Settings) -> None:
    rollout = begun(settings)
    held = rolling_out.look_at(settings, rollout.id)
    assert held is not None
    assert (held.verdict, held.readings[0].heard) == (Verdict.HOLD, Heard.NO_DATA)
    assert now(settings, rollout).heard_at == rollout.heard_at
    ended = rolling_out.look_at(settings, rollout.id, datetime.now(UTC) + timedelta(minutes=16))
    assert ended is not None
    assert (ended.verdict, now(settings, rollout).status) == (Verdict.INCONCLUSIVE, RolloutStatus.INCONCLUSIVE)
    assert promotion_of(settings, rollout).status is PromotionStatus.EXPIRED
    assert pointer_of(settings, rollout).promotion_id == rollout.champion


def test_what_is_heard_is_remembered_so_that_silence_is_counted_from_then(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"bake_minutes": 600.0}))
    later = datetime.now(UTC) + timedelta(minutes=14)
    observe(settings, rollout, LIKE_IT[0], at=later)
    rolling_out.look_at(settings, rollout.id, later)
    assert now(settings, rollout).heard_at == later
    silent = rolling_out.look_at(settings, rollout.id, later + timedelta(minutes=14))
    assert silent is not None
    assert (silent.verdict, silent.readings[0].heard) == (Verdict.HOLD, Heard.LATE)


def test_what_is_slow_for_the_champion_is_kept_at_one_look_and_counted_from_the_next(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"signals": (LATENCY,)}))
    open_rollouts.observe_latencies(settings, rollout, {"champion": {10: 960, 40: 40}, "challenger": {10: 90, 40: 10}})
    first = rolling_out.look_at(settings, rollout.id)
    assert first is not None
    kept = now(settings, rollout).frozen
    assert first.readings[0].heard is Heard.WARMING_UP
    assert kept is not None
    open_rollouts.observe_latencies(settings, rollout, {"champion": {9: 1000}, "challenger": {}})
    second = rolling_out.look_at(settings, rollout.id)
    assert second is not None
    assert (second.readings[0].heard, second.readings[0].seconds) == (Heard.OK, kept["latency"])
    assert now(settings, rollout).frozen == kept


def test_bytes_that_were_changed_meanwhile_do_not_become_current(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"weights": (10.0, 100.0)}))
    _bytes_of(settings, promotion_of(settings, rollout).artifact_id).write_text("something else")
    observe(settings, rollout, LIKE_IT[0])
    look = rolling_out.look_at(settings, rollout.id)
    assert look is not None
    rollout, promotion = now(settings, rollout), promotion_of(settings, rollout)
    assert (look.verdict, rollout.status, promotion.status) == (Verdict.ADVANCE, RolloutStatus.ABORTED, PromotionStatus.REJECTED)
    assert "no longer verifies" in (promotion.reason or "")
    assert pointer_of(settings, rollout).promotion_id == rollout.champion
    _check_history(settings)


def test_a_store_that_cannot_be_read_moves_nothing_and_stops_no_other_rollout(settings: Settings) -> None:
    spec = SPEC.model_copy(update={"weights": (10.0, 100.0), "look_seconds": 1.0})
    waits, worse = begun(settings, spec), begun(settings, spec, "snow")
    observe(settings, waits, LIKE_IT[0])
    observe(settings, worse, WORSE)
    few = settings.model_copy(update={"worker_threads": 4})
    due = datetime.now(UTC) + timedelta(seconds=2)
    with recorded.leaving_threads_free(few), recorded.being_with_artifacts():
        looked = {one.rollout.id: one for one in rolling_out.look_round(settings, due)}
        with pytest.raises(Unavailable):
            rolling_out.look_at(settings, waits.id)
    assert "Too many wait" in (looked[waits.id].problem or "")
    assert (looked[waits.id].look, looked[waits.id].rollout.status) == (None, RolloutStatus.RUNNING)
    assert looked[worse.id].rollout.status is RolloutStatus.ROLLED_BACK
    assert (now(settings, waits).looks, pointer_of(settings, waits).promotion_id) == (0, waits.champion)
    rolling_out.look_round(settings, due)
    assert now(settings, waits).status is RolloutStatus.COMPLETED


def test_a_round_looks_only_at_what_is_due(settings: Settings) -> None:
    slow, quick = begun(settings), begun(settings, SPEC.model_copy(update={"look_seconds": 1.0}), "snow")
    assert rolling_out.look_round(settings, quick.created_at) == []
    soon = rolling_out.next_due(settings)
    assert soon == quick.created_at + timedelta(seconds=0.9)
    assert [one.rollout.id for one in rolling_out.look_round(settings, soon)] == [quick.id]
    assert now(settings, quick).looked_at == soon
    both = rolling_out.look_round(settings, slow.created_at + timedelta(seconds=54))
    assert [one.rollout.id for one in both] == [quick.id, slow.id]


def test_of_two_that_look_at_the_same_time_one_look_counts(settings: Settings) -> None:
    rollout = begun(settings)
    observe(settings, rollout, LIKE_IT[0])
    together = threading.Barrier(6)
    got: list[object] = []

    def look() -> None:
        together.wait()
        got.append(rolling_out.look_at(settings, rollout.id))

    for _ in range(5):
        threads = [threading.Thread(target=look) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counted = [look for look in got if look is not None]
    assert [look.number for look in looks_at(settings, rollout)] == list(range(1, len(counted) + 1))
    assert now(settings, rollout).step == 1
    _check_history(settings)


def test_a_regression_goes_back_by_itself_where_the_service_looks(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"look_seconds": 1.0}))
    with beside.in_threads(settings):
        observe(settings, rollout, WORSE)
        _wait_until_it_ends(settings, rollout)
    assert now(settings, rollout).status is RolloutStatus.ROLLED_BACK


def test_one_whose_look_takes_long_holds_up_no_other_where_the_service_looks(settings: Settings) -> None:
    spec = SPEC.model_copy(update={"look_seconds": 1.0})
    stuck, worse = begun(settings, spec), begun(settings, spec, "snow")
    observe(settings, worse, WORSE)
    with database.transaction(settings) as tx, beside.in_threads(settings):
        tx.execute(text("SELECT id FROM rollouts WHERE id = :stuck FOR UPDATE"), {"stuck": stuck.id})
        _wait_until_it_ends(settings, worse)
        tx.rollback()
    assert (now(settings, worse).status, now(settings, stuck).status) == (RolloutStatus.ROLLED_BACK, RolloutStatus.RUNNING)


def test_a_rollout_that_does_not_exist_is_not_found(settings: Settings) -> None:
    artifact = approvers.registered(settings)
    with pytest.raises(NotFound):
        rolling_out.look_at(settings, artifact.id)
