"""What the sequencer does with rows of the outbox that are no event, or are of a time still to come."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text

from aiinfra_core import database
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.audit_log.keeping_up import keep_up
from aiinfra_core.audit_log.sequence import sequence_pending, waiting
from aiinfra_core.errors import Unavailable
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings


def _told(settings: Settings, at: datetime) -> None:
    with database.transaction(settings) as tx:
        append(tx, event("drift.checked", at=at, actor="ann", request_id="one", subject="model", rows={}))


def _chained(settings: Settings) -> tuple[int, int]:
    with database.transaction(settings) as tx:
        return tx.execute(select(func.count()).select_from(audit_events)).scalar_one(), waiting(tx)


@pytest.mark.parametrize(
    "payload",
    ["{}", "[]", '"text"', '{"type":"x","time":"yesterday"}', '{"type":"x","time":7}', '{"type":"x","time":"2026-01-01T00:00:00"}'],
)
def test_a_row_that_is_no_event_holds_the_log_and_is_named_and_those_before_it_are_chained(settings: Settings, payload: str) -> None:
    _told(settings, datetime.now(UTC))
    with database.transaction(settings) as tx:
        row = tx.execute(
            text("INSERT INTO audit_outbox (event_type, payload) VALUES ('x', CAST(:it AS json)) RETURNING id"), {"it": payload}
        ).scalar_one()
    _told(settings, datetime.now(UTC))
    with pytest.raises(Unavailable, match=f"Row {row} of audit_outbox is no event"):
        sequence_pending(settings, audit_signer(settings))
    assert _chained(settings) == (1, 2)
    keep_up(settings)
    assert _chained(settings) == (1, 2)


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(days=365 * 7000)])
def test_an_event_of_a_time_still_to_come_waits(settings: Settings, ahead: timedelta) -> None:
    _told(settings, datetime.now(UTC))
    _told(settings, datetime.now(UTC) + ahead)
    with pytest.raises(Unavailable, match="still to come; set the clocks right"):
        sequence_pending(settings, audit_signer(settings))
    assert _chained(settings) == (1, 1)


def test_clocks_may_differ_by_minutes(settings: Settings) -> None:
    _told(settings, datetime.now(UTC) + timedelta(minutes=4))
    assert sequence_pending(settings, audit_signer(settings)) == 1
