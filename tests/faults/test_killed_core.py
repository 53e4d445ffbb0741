"""A process killed at any call to the database, then run again: same rows, one artifact, one event each."""

import random
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from aiinfra_core import database, verifying
from aiinfra_core.columns import metadata
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_artifacts, model_promotions
from tests.simulators import own_process
from tests.simulators.own_process import run_until

EXPECTED_EVENTS = Counter(
    {
        "artifact.registered": 1,
        "artifact.scanned": 1,
        "policy.adopted": 1,
        "promotion.requested": 3,
        "policy.decision": 3,
        "evaluation.recorded": 1,
        "promotion.approved": 2,
        "promotion.applied": 2,
        "promotion.rejected": 1,
    }
)


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    with own_process.running(Path(__file__).with_name("killed_at.py")) as process:
        yield process


@contextmanager
def _fresh_place(server: str, template: str, folder: Path) -> Iterator[Settings]:
    """Give settings with a database, a store and a key of their own, and the bytes the story registers."""
    with own_process.fresh_place(server, template, folder) as settings:
        (settings.home / "model.bin").write_bytes(b"weights")
        yield settings


def _check_done_once(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        events = Counter(tx.execute(select(audit_events.c.event_type)).scalars())
        rows = {name: len(tx.execute(select(table)).all()) for name, table in metadata.tables.items() if name != "audit_events"}
        statuses = Counter(tx.execute(select(model_promotions.c.status)).scalars())
        assert tx.execute(select(model_artifacts.c.version)).scalars().all() == [1]
    assert events == EXPECTED_EVENTS
    assert statuses == {"applied": 2, "rejected": 1}
    # One registration, one scan, one evaluation and two manifests are signed; the refused claim is not.
    assert (rows["attestations"], rows["evaluations"], rows["models"], rows["environment_pointers"]) == (5, 1, 1, 2)
    assert (rows["policies"], rows["policy_decisions"]) == (1, 3)
    assert (rows["request_ids"], rows["audit_outbox"]) == (4, 0)
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)


@pytest.fixture(scope="module")
def calls(runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Run the story undisturbed and return how many calls to the database it makes."""
    place = _fresh_place(postgres_server, migrated_template, tmp_path_factory.mktemp("undisturbed"))
    return own_process.calls_undisturbed(runner, place, _check_done_once)


@pytest.fixture
def kill_and_run_again(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path
) -> Callable[[int], None]:
    """Give a function that kills the story at its n-th call to the database, runs it again and checks what is there."""
    return lambda at: own_process.kill_and_run_again(
        runner, _fresh_place(postgres_server, migrated_template, tmp_path), _check_done_once, at
    )


@pytest.mark.parametrize("share", [0.02, 0.15, 0.3, 0.45, 0.55, 0.7, 0.85, 1.0])
def test_a_kill_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    kill_and_run_again: Callable[[int], None], calls: int, share: float
) -> None:
    kill_and_run_again(max(1, round(share * calls)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_at_any_call_to_the_database_and_a_rerun_leave_what_an_undisturbed_run_leaves(
    kill_and_run_again: Callable[[int], None], calls: int
) -> None:
    assert calls > 30
    for at in range(1, calls + 1):
        kill_and_run_again(at)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_many_kills_in_a_row_at_random_calls_leave_what_an_undisturbed_run_leaves(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int
) -> None:
    chance = random.Random(20260101)  # noqa: S311 - a seed, so that a failure can be repeated
    for number in range(300):
        with _fresh_place(postgres_server, migrated_template, tmp_path) as settings:
            kills = [chance.randint(1, calls) for _ in range(chance.randint(2, 5))]
            for at in kills:
                run_until(runner, settings, at)
            assert run_until(runner, settings, 0)["exit"] == 0, (number, kills)
            _check_done_once(settings)
