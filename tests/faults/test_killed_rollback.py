"""A process killed at any call to the database while it goes back, then run again: gone back once, and never further than that."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from aiinfra_core import database, verifying
from aiinfra_core.log_tables import audit_events
from aiinfra_core.rollout_tables import rollout_orders, rollouts
from aiinfra_core.settings import Settings
from aiinfra_core.tables import environment_pointers, model_artifacts, model_promotions
from tests.simulators import own_process

EXPECTED_EVENTS = Counter(
    {
        "promotion.requested": 5,
        "promotion.approved": 5,
        "promotion.applied": 4,
        "rollout.started": 1,
        "rollback.applied": 3,
    }
)


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    with own_process.running(Path(__file__).with_name("killed_rollback.py")) as process:
        yield process


def _check_done_once(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        told = tx.execute(select(audit_events.c.event_type)).scalars()
        events = Counter(one for one in told if one.startswith(("promotion", "roll")))
        versions = select(model_artifacts.c.version, model_promotions.c.status).join_from(
            model_promotions, model_artifacts, model_promotions.c.artifact_id == model_artifacts.c.id
        )
        statuses = [tuple(row) for row in tx.execute(versions.order_by(model_promotions.c.created_at))]
        (ended,) = tx.execute(select(rollouts.c.status)).scalars()
        (order,) = tx.execute(select(rollout_orders.c.action)).scalars()
        (pointer,) = tx.execute(select(environment_pointers.c.sequence, environment_pointers.c.rollout_id))
    assert events == EXPECTED_EVENTS
    assert statuses == [(1, "applied"), (2, "rolled_back"), (1, "rolled_back"), (3, "rolled_back"), (2, "applied")]
    assert (ended, order, tuple(pointer)) == ("rolled_back", "rollback", (4, None))
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


@pytest.fixture(scope="module")
def calls(runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Run the story undisturbed and return how many calls to the database it makes."""
    place = own_process.fresh_place(postgres_server, migrated_template, tmp_path_factory.mktemp("undisturbed"))
    return own_process.calls_undisturbed(runner, place, _check_done_once)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", [pytest.param(4, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.full)])
def test_a_kill_at_any_call_while_going_back_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int, every: int
) -> None:
    assert calls > 50
    for at in range(1, calls + 1, every):
        own_process.kill_and_run_again(runner, own_process.fresh_place(postgres_server, migrated_template, tmp_path), _check_done_once, at)
