"""Approvals, withdrawals, expiry and other promotions at the same moment: one ending, and nothing applied without everybody's yes."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from aiinfra_core import approving, database, deciding, promoting, verifying
from aiinfra_core.approving import statements, waiting
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.domain.promotion import Promotion, PromotionStatus, Stage
from aiinfra_core.errors import Conflict
from aiinfra_core.registry import approvals, dossier, promotion_moves
from aiinfra_core.settings import Settings
from tests.simulators.approvers import (
    agree,
    agree_by_name,
    asked,
    events,
    given,
    now,
    registered,
    settings_with_approvers,
    signed,
    take_back,
)

ROUNDS = range(6)


@pytest.fixture
def place(settings: Settings, tmp_path: Path) -> Settings:
    return settings_with_approvers(settings, tmp_path / "trust")


def _at_once(*calls: Callable[[], object]) -> list[object]:
    """Return what each call returned, or the conflict it met."""
    barrier = threading.Barrier(len(calls))
    done: list[object] = [None] * len(calls)

    def run(number: int, call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            done[number] = call()
        except Conflict as error:
            done[number] = error

    threads = [threading.Thread(target=run, args=(number, call)) for number, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def _agreed_by(place: Settings, content: str, *names: str) -> Promotion:
    waits = asked(place, registered(place, content))
    for name in names:
        agree(place, waits, name)
    return waits


def test_two_last_approvals_at_once_apply_it_once(place: Settings) -> None:
    for number in ROUNDS:
        waits = _agreed_by(place, f"weights-{number}")
        _at_once(partial(agree, place, waits, "alice"), partial(agree, place, waits, "bob"))
        assert (now(place, waits).status, len(given(place, waits))) == (PromotionStatus.APPLIED, 2), number
    assert events(place).count("promotion.applied") == len(ROUNDS)
    assert verifying.verify_history(place).findings == []


def test_the_same_approval_sent_many_times_at_once_is_one(place: Settings) -> None:
    waits = _agreed_by(place, "weights")
    envelope = signed(place, waits, "alice")

    def send() -> object:
        return approving.approve(place, waits.id, manifest=waits.manifest or "", envelope=envelope)[0]

    sent = _at_once(*[send] * 4, *[lambda: agree_by_name(place, waits, "dora", "security")[0]] * 4)
    assert len({repr(one) for one in sent}) == len(given(place, waits)) == 2
    assert events(place).count("approval.given") == 2


def test_a_withdrawal_and_the_last_approval_at_once_either_apply_it_or_leave_it_waiting(place: Settings) -> None:
    for number in ROUNDS:
        waits = _agreed_by(place, f"weights-{number}", "alice")
        (first,) = given(place, waits)
        taken, _ = _at_once(partial(take_back, place, first), partial(agree, place, waits, "bob"))
        ended = now(place, waits).status
        if isinstance(taken, Conflict):
            assert ended is PromotionStatus.APPLIED, number
        else:  # taken back while it waited, or after it was approved and before it was applied
            assert ended in (PromotionStatus.PENDING_APPROVAL, PromotionStatus.EXPIRED), number
    assert verifying.verify_history(place).findings == []


def test_an_approval_that_comes_as_it_expires_is_recorded_or_refused_and_it_ends_once(place: Settings) -> None:
    for number in ROUNDS:
        waits = _agreed_by(place, f"weights-{number}", "alice")

        def expire(waits: Promotion = waits) -> object:
            with database.autocommit(place) as connection:
                row = dossier.of_promotion(connection, waits.id).row
                return promotion_moves.expire(connection, row, "nobody agreed in time", at=datetime.now(UTC))

        _at_once(expire, partial(agree, place, waits, "bob"))
        waiting.go_on(place)
        assert now(place, waits).status in (PromotionStatus.APPLIED, PromotionStatus.EXPIRED), number
    keep_up(place)
    ended = [event for event in events(place) if event in ("promotion.applied", "promotion.expired")]
    assert len(ended) == len(ROUNDS)
    assert verifying.verify_history(place).findings == []


def test_of_two_that_wait_for_the_same_place_one_is_applied_and_the_other_superseded(place: Settings) -> None:
    for number in ROUNDS:
        first, second = (_agreed_by(place, f"weights-{number}-{one}", "alice") for one in "ab")
        _at_once(*(partial(agree, place, waits, "bob") for waits in (first, second)))
        waiting.go_on(place)
        assert {now(place, one).status for one in (first, second)} == {PromotionStatus.APPLIED, PromotionStatus.SUPERSEDED}, number
    assert verifying.verify_history(place).findings == []


def _given_by_a_process_that_was_killed_then(place: Settings, waits: Promotion, name: str) -> None:
    envelope = signed(place, waits, name)
    with database.autocommit(place) as connection:
        known = dossier.of_promotion(connection, waits.id)
        approval, statement = statements.approval_by_key(place, known, envelope, None, datetime.now(UTC))
        assert approvals.give(connection, known.row, approval, statement, at=datetime.now(UTC))
        assert not approvals.give(connection, known.row, approval, statement, at=datetime.now(UTC))


def test_what_a_killed_process_left_undone_is_carried_on(place: Settings) -> None:
    waits = _agreed_by(place, "weights", "alice")
    _given_by_a_process_that_was_killed_then(place, waits, "bob")
    assert [promotion.status for promotion in waiting.go_on(place)] == [PromotionStatus.APPLIED]
    assert waiting.go_on(place) == []


def test_an_approved_promotion_whose_approval_was_taken_back_is_not_applied(place: Settings) -> None:
    waits = _agreed_by(place, "weights", "alice")
    _given_by_a_process_that_was_killed_then(place, waits, "bob")
    with database.autocommit(place) as connection:
        known = dossier.of_promotion(connection, waits.id)
    judgement = deciding.decide(place, known, Stage.APPLY)
    with database.transaction(place) as tx:
        assert promotion_moves.agree(tx, known.row, judgement, at=datetime.now(UTC))["status"] == PromotionStatus.APPROVED
    take_back(place, given(place, waits)[0])
    assert promoting.apply_promotion(place, waits.id).status is PromotionStatus.EXPIRED
    assert events(place)[-2:] == ["approval.withdrawn", "promotion.expired"]
