"""A process killed at any call to the database while people agree, then run again: each approval once, one promotion applied."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from aiinfra_core import database, verifying
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.tables import approval_withdrawals, approvals, environment_pointers, model_promotions
from tests.simulators import approvers, own_process

EXPECTED_EVENTS = Counter(
    {
        "promotion.requested": 2,
        "promotion.pending": 2,
        "promotion.approved": 1,
        "promotion.applied": 1,
        "promotion.superseded": 1,
        "approval.given": 3,
        "approval.withdrawn": 1,
    }
)


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    with own_process.running(Path(__file__).with_name("killed_approving.py")) as process:
        yield process


@contextmanager
def _fresh_place(server: str, template: str, folder: Path) -> Iterator[Settings]:
    with own_process.fresh_place(server, template, folder) as settings:
        yield approvers.settings_with_approvers(settings, settings.home / "trust")


def _check_done_once(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        events = Counter(
            one for one in tx.execute(select(audit_events.c.event_type)).scalars() if one.startswith(("promotion", "approval"))
        )
        statuses = Counter(tx.execute(select(model_promotions.c.status)).scalars())
        counts = [
            tx.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (approvals, approval_withdrawals, environment_pointers)
        ]
    assert events == EXPECTED_EVENTS
    assert statuses == {"applied": 1, "superseded": 1}
    assert counts == [3, 1, 1]
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


@pytest.fixture(scope="module")
def calls(runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Run the story undisturbed and return how many calls to the database it makes."""
    place = _fresh_place(postgres_server, migrated_template, tmp_path_factory.mktemp("undisturbed"))
    return own_process.calls_undisturbed(runner, place, _check_done_once)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.75, 0.95])
def test_a_kill_while_people_agree_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int, share: float
) -> None:
    place = _fresh_place(postgres_server, migrated_template, tmp_path)
    own_process.kill_and_run_again(runner, place, _check_done_once, round(share * calls))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_at_any_call_while_people_agree_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int
) -> None:
    assert calls > 60
    for at in range(1, calls + 1):
        own_process.kill_and_run_again(runner, _fresh_place(postgres_server, migrated_template, tmp_path), _check_done_once, at)
