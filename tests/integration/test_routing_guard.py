"""A routing is its own guard: no traffic for a challenger that nobody judges, no signature for rows that were edited."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from aiinfra_core import database, rolling_out, routing
from aiinfra_core.domain.rollout import Action, Arm, Heard, Verdict
from aiinfra_core.domain.rollout_spec import Inconclusive
from aiinfra_core.errors import EvidenceBroken, Unavailable
from aiinfra_core.evidence.rollout_predicates import Routing
from aiinfra_core.evidence.routing import check
from aiinfra_core.keys import trust_of
from aiinfra_core.registry import rollouts
from aiinfra_core.settings import Settings
from tests.simulators.open_rollouts import LIKE_IT, SPEC, begun, looks_at, observe
from tests.simulators.scripted_server import unused_url
from tests.simulators.serving_place import UNITS, arms, place_in

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
CHAMPION, CHALLENGER = Arm.CHAMPION, Arm.CHALLENGER


@pytest.fixture(autouse=True)
def _made_anew() -> Iterator[None]:
    yield
    routing._made.clear()


def said(settings: Settings, at: datetime | None = None, seen: tuple[int, int] | None = None, model: str = "rainfall") -> Routing:
    """Return what the routing says, checked as a reader does."""
    routed = routing.routing_of(settings, "prod", model, at)
    return check(routed.bundle, trust_of(settings), environment="prod", model=model, now=at or datetime.now(UTC), seen=seen)


def test_a_challenger_that_nobody_looks_at_has_no_traffic_until_somebody_does(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    rollout = begun(settings)
    observe(settings, rollout, {"champion": (90, 0), "challenger": (10, 0)})
    watched, unwatched = rollout.created_at + 18 * MINUTE, rollout.created_at + 19 * MINUTE
    before = said(settings, watched)
    assert (before.weight, before.challenger is not None) == (1000, True)
    tag = routing.routing_of(settings, "prod", "rainfall", watched).etag
    alone = said(settings, unwatched, seen=(before.sequence, before.changes))
    assert (alone.weight, alone.champion, alone.rollout_id) == (0, before.champion, before.rollout_id)
    assert routing.routing_of(settings, "prod", "rainfall", unwatched).etag != tag
    for minutes in (20, 40, 500 * 60):
        assert said(settings, rollout.created_at + minutes * MINUTE).weight == 0
    assert [one.levelno for one in caplog.records if "judged by nobody" in one.message] == [logging.WARNING]
    observe(settings, rollout, {}, at=unwatched)  # whoever serves is there, and counts nothing meanwhile
    look = rolling_out.look_at(settings, rollout.id, unwatched)
    assert look is not None
    assert (look.verdict, look.readings[0].heard) == (Verdict.HOLD, Heard.OK)
    again = said(settings, unwatched + MINUTE, seen=(alone.sequence, alone.changes))
    assert (again.weight, again.changes) == (1000, before.changes)
    assert len([one for one in caplog.records if "its challenger has its share" in one.message]) == 1


def test_a_rollout_that_no_look_ended_at_its_deadline_has_no_traffic_but_where_it_is_to_hold(settings: Settings) -> None:
    spec = SPEC.model_copy(update={"deadline_hours": 1.0, "bake_minutes": 600.0})
    returns, holds = begun(settings, spec), begun(settings, spec.model_copy(update={"when_inconclusive": Inconclusive.HOLD}), "snow")
    for one in (returns, holds):
        late = one.created_at + 55 * MINUTE
        observe(settings, one, {"champion": (90, 0), "challenger": (10, 0)}, at=late)
        rolling_out.look_at(settings, one.id, late)
    shares = [said(settings, returns.created_at + HOUR + minutes * MINUTE).weight for minutes in (3, 4)]
    assert shares == [1000, 0]
    assert said(settings, holds.created_at + HOUR + 4 * MINUTE, model="snow").weight == 1000


def test_without_its_signer_none_that_gives_an_unwatched_challenger_traffic_goes_on(settings: Settings) -> None:
    rollout = begun(settings)
    start = datetime.fromtimestamp(((rollout.created_at + 30 * MINUTE).timestamp()) // 150 * 150, UTC)
    rolling_out.look_at(settings, rollout.id, start + MINUTE - 18 * MINUTE)
    assert said(settings, start + MINUTE).weight == 1000
    key = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="
    away = {"promotion_signer_uri": f"{unused_url()}/sign?signer-id=kms&public-key={key}", "kms_timeout_seconds": 0.2}
    with pytest.raises(Unavailable):
        routing.routing_of(settings.model_copy(update=away), "prod", "rainfall", start + 2 * MINUTE)


EDITS = (
    ("weight", "rollouts", "weight = 9999"),
    ("step", "rollouts", "weight = 10000, step = 2"),
    ("step", "rollouts", "weight = 5000, step = 1"),
    ("spec", "rollouts", "spec = replace(spec::text, '0.01', '0.1')::json"),
    ("spec digest", "rollouts", "spec = '{}', spec_digest = encode(sha256('{}'), 'hex')"),
    ("champion", "rollouts", "champion = promotion_id"),
    ("sequence", "rollouts", "sequence = 7"),
    ("environment", "rollouts", "environment = 'staging'"),
    ("champion's status", "model_promotions", "status = 'rolled_back', reason = 'edited' WHERE status = 'applied'"),
    ("challenger's status", "model_promotions", "status = 'rejected', reason = 'edited' WHERE status = 'rolling_out'"),
)
_BACK = {
    "rollouts": "(weight, step, spec, spec_digest, champion, sequence, environment, frozen)",
    "model_promotions": "(status, reason)",
}


UNREADABLE = ("spec = '[]'", "spec = '{\"weights\" \\: 5}'", "frozen = '1'", 'frozen = \'{"a" \\: "b"}\'')


def _edited(settings: Settings, table: str, change: str) -> None:
    with database.transaction(settings) as tx:
        for statement in ("RESET ROLE", f"ALTER TABLE {table} DISABLE TRIGGER USER", f"UPDATE {table} SET {change}"):
            tx.execute(text(statement))
        tx.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


def _as_it_was(settings: Settings) -> None:
    for table, columns in _BACK.items():
        _edited(settings, table, f"{columns} = (SELECT {columns[1:-1]} FROM kept_{table} AS kept WHERE kept.id = {table}.id)")


def test_an_edited_row_is_not_signed_as_truth(settings: Settings) -> None:
    begun(settings)
    with database.transaction(settings) as tx:
        for statement in ("RESET ROLE", *(f"CREATE TABLE kept_{table} AS TABLE {table}" for table in _BACK)):
            tx.execute(text(statement))
    for what, table, change in EDITS:
        _edited(settings, table, change)
        with pytest.raises(EvidenceBroken, match=f"rollout: .* has the {what} .* follows from its evidence"):
            said(settings)
        _as_it_was(settings)
    for change in UNREADABLE:
        _edited(settings, "rollouts", change)
        with pytest.raises(EvidenceBroken, match=r"rollout: .* cannot be read; find out who changed it"):
            said(settings)
        _as_it_was(settings)
    assert said(settings).weight == 1000


def test_a_weight_that_the_service_itself_may_write_is_not_signed_either(settings: Settings) -> None:
    rollout = begun(settings)
    with database.transaction(settings) as tx:
        tx.execute(text("UPDATE rollouts SET weight = 9999 WHERE id = :rollout"), {"rollout": rollout.id})
    with pytest.raises(EvidenceBroken, match="has the weight 9999, where 1000 follows"):
        said(settings)


def test_steps_that_looks_and_orders_led_to_are_signed_for(settings: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"weights": (10.0, 50.0, 70.0, 80.0, 100.0)}))
    observe(settings, rollout, LIKE_IT[0])
    rolling_out.look_at(settings, rollout.id)
    for step, weight in ((1, 5000), (2, 7000), (3, 8000)):
        assert (said(settings).step, said(settings).weight) == (step, weight)
        if step < 3:
            rolling_out.order(settings, rollout.id, Action.ADVANCE, reason="known to be fine", ordered_by="olga", step=step)
    rolling_out.look_at(settings, rollout.id)
    assert (said(settings).step, said(settings).weight, len(looks_at(settings, rollout)) > 1) == (3, 8000, True)


def test_a_pointer_that_was_moved_by_a_clock_ahead_does_not_stop_routings(settings: Settings) -> None:
    begun(settings)
    _edited(settings, "environment_pointers", "updated_at = now() + interval '1 hour'")
    assert said(settings).weight == 1000


def test_while_nobody_judges_the_champion_answers_uncounted_and_units_are_where_they_were_afterwards(tmp_path: Path) -> None:
    with place_in(tmp_path) as place:
        place.shares(weight=5000)
        with place.serving() as serving:
            before = arms(serving)
            assert set(before.values()) == {CHAMPION, CHALLENGER}
            place.shares(weight=0)
            serving.refresh()
            assert set(arms(serving).values()) == {CHAMPION}
            assert not any(serving.report(serving.choose(unit), seconds=0.01) for unit in UNITS)
            assert (serving.standing().challenger, serving.standing().problem) == (None, None)
            place.shares(weight=5000)
            serving.refresh()
            assert arms(serving) == before


def test_for_how_long_the_rollout_that_waits_longest_was_not_looked_at_is_known(settings: Settings) -> None:
    def oldest() -> float:
        with database.autocommit(settings) as connection:
            return rollouts.oldest_look(connection)

    assert oldest() == 0
    rollout = begun(settings)
    begun(settings, model="snow")
    with database.transaction(settings) as tx:
        tx.execute(text("UPDATE rollouts SET looked_at = now() - interval '1 hour' WHERE id = :rollout"), {"rollout": rollout.id})
    assert 3600 <= oldest() < 3700
    rolling_out.order(settings, rollout.id, Action.ABORT, reason="enough", ordered_by="olga")
    assert oldest() < 60
