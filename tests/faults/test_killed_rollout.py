"""A process killed at any call to the database while it drives rollouts, then run again: each move once, each rollout to its end."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from aiinfra_core import database, verifying
from aiinfra_core.log_tables import audit_events
from aiinfra_core.rollout_tables import canary_looks, rollout_orders, rollouts
from aiinfra_core.settings import Settings
from aiinfra_core.tables import environment_pointers, model_promotions
from tests.simulators import own_process

EXPECTED_EVENTS = Counter(
    {
        "promotion.requested": 4,
        "promotion.approved": 4,
        "promotion.applied": 3,
        "rollout.started": 2,
        "rollout.paused": 1,
        "rollout.resumed": 1,
        "rollout.advanced": 1,
        "rollout.completed": 1,
        "rollback.applied": 1,
    }
)


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    with own_process.running(Path(__file__).with_name("killed_rollout.py")) as process:
        yield process


def _check_done_once(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        told = tx.execute(select(audit_events.c.event_type)).scalars()
        events = Counter(one for one in told if one.startswith(("promotion", "roll")))
        ended = {row.model: (row.status, row.weight, row.looks) for row in tx.execute(select(rollouts))}
        looks = [tuple(row) for row in tx.execute(select(canary_looks.c.number, canary_looks.c.verdict))]
        orders = tx.execute(select(rollout_orders.c.action).order_by(rollout_orders.c.created_at)).scalars().all()
        pointers = {row.model: (row.sequence, row.rollout_id) for row in tx.execute(select(environment_pointers))}
        statuses = Counter(tx.execute(select(model_promotions.c.status)).scalars())
    assert events == EXPECTED_EVENTS
    assert ended == {"rainfall": ("completed", 10_000, 2), "snow": ("rolled_back", 0, 1)}
    assert sorted(looks) == [(1, "advance"), (1, "rollback"), (2, "advance")]
    assert orders == ["pause", "resume"]
    assert pointers == {"rainfall": (2, None), "snow": (1, None)}
    assert statuses == {"applied": 3, "rolled_back": 1}
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


@pytest.fixture(scope="module")
def calls(runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Run the story undisturbed and return how many calls to the database it makes."""
    place = own_process.fresh_place(postgres_server, migrated_template, tmp_path_factory.mktemp("undisturbed"))
    return own_process.calls_undisturbed(runner, place, _check_done_once)


@pytest.mark.parametrize("share", [0.6, 0.85])
def test_a_kill_while_rollouts_are_driven_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int, share: float
) -> None:
    place = own_process.fresh_place(postgres_server, migrated_template, tmp_path)
    own_process.kill_and_run_again(runner, place, _check_done_once, round(share * calls))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_at_many_calls_while_rollouts_are_driven_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int
) -> None:
    for at in range(calls // 3, calls + 1, 5):  # what is before that is done by every promotion
        own_process.kill_and_run_again(runner, own_process.fresh_place(postgres_server, migrated_template, tmp_path), _check_done_once, at)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_kill_at_any_call_while_rollouts_are_driven_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int
) -> None:
    assert calls > 60, calls
    for at in range(1, calls + 1):
        own_process.kill_and_run_again(runner, own_process.fresh_place(postgres_server, migrated_template, tmp_path), _check_done_once, at)
