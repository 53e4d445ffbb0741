"""By which clock rollouts go: the database's, whatever time it is where they are driven."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text

from aiinfra_core import database, rolling_out, routing
from aiinfra_core.domain.rollout import Action, Verdict
from aiinfra_core.evidence.routing import check
from aiinfra_core.keys import trust_of
from aiinfra_core.registry import rollouts
from aiinfra_core.rollout_tables import rollout_batches
from aiinfra_core.settings import Settings
from tests.simulators.http_story import open_to_debug
from tests.simulators.open_rollouts import SPEC, begun, looks_at, now, pointer_of
from tests.simulators.service import calling

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def behind(settings: Settings) -> Iterator[Settings]:
    """Give settings of a driver whose clock is an hour behind that of the database."""
    clock = "CREATE FUNCTION ahead.statement_timestamp() RETURNS timestamptz LANGUAGE sql AS"
    with database.transaction(settings) as tx:
        for statement in (
            "RESET ROLE",
            "CREATE SCHEMA ahead",
            f"{clock} $$ SELECT pg_catalog.statement_timestamp() + interval '1 hour' $$",
            "GRANT USAGE ON SCHEMA ahead TO aiinfra_app",
        ):
            tx.execute(text(statement))
    url = database.url(settings)
    path = f"options={quote('-csearch_path=ahead,pg_catalog,public')}"
    there = f"{url}{'&' if '?' in url else '?'}{path}"
    yield settings.model_copy(update={"database_url": SecretStr(there)})
    routing._made.clear()


def _is_now_there(moment: datetime | None) -> bool:
    assert moment is not None
    return abs(moment - HOUR - datetime.now(UTC)) < MINUTE


def test_a_rollout_its_looks_orders_and_observations_are_dated_by_the_database(behind: Settings) -> None:
    rollout = begun(behind, SPEC.model_copy(update={"bake_minutes": 30.0}))
    assert all(map(_is_now_there, (rollout.created_at, rollout.step_started_at, pointer_of(behind, rollout).updated_at)))
    with calling(open_to_debug(behind)) as api:
        counts = [{"arm": arm, "units": units, "errors": 0} for arm, units in (("champion", 90_000), ("challenger", 10_000))]
        batch = {"batch": "0b9f2a3c-4c8e-4d0e-9d9b-3f8f8d1f2a11", "reporter": "server-1", "step": 0, "counts": counts}
        assert api.post(f"/ai-infra/rollouts/{rollout.id}/observations", json=batch).status_code == 200
    with database.autocommit(behind) as connection:
        assert _is_now_there(connection.execute(select(rollout_batches.c.created_at)).scalar_one())
    look = rolling_out.look_at(behind, rollout.id)
    assert look is not None
    assert (look.verdict, _is_now_there(look.created_at)) == (Verdict.HOLD, True), look.reason
    rolling_out.order(behind, rollout.id, Action.PAUSE, reason="to see when", ordered_by="olga")
    with database.autocommit(behind) as connection:
        (order,) = rollouts.orders(connection, rollout.id)
    assert _is_now_there(order.created_at)
    routed = routing.routing_of(behind, "prod", "rainfall")
    said = check(routed.bundle, trust_of(behind), environment="prod", model="rainfall", now=datetime.now(UTC) + HOUR)
    assert _is_now_there(datetime.fromisoformat(said.issued_at) + MINUTE)


def test_what_is_due_is_so_by_the_database(settings: Settings, behind: Settings) -> None:
    rollout = begun(settings, SPEC.model_copy(update={"look_seconds": 600.0}))
    assert rolling_out.look_round(settings) == []
    assert [one.id for one in rolling_out.due(behind)] == [rollout.id]
    (looked,) = rolling_out.look_round(behind)
    assert looked.look is not None
    assert _is_now_there(looked.look.created_at)
    assert [look.created_at for look in looks_at(settings, rollout)] == [now(settings, rollout).looked_at]
