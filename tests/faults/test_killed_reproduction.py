"""A reproduction killed at any call to the database, or while the training runs, then run again: one row, one statement, one event."""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from aiinfra_core import database, verifying
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.tables import attestations, reproductions
from tests.simulators import own_process
from tests.simulators.postgres import made_database
from tests.simulators.trained_models import trained_by

# It says something first, so that it can be killed while it runs, and never gives the same bytes.
SCRIPT = "print('begun', flush=True)\ntime.sleep(0.05)\nput(text=str(time.time_ns()))"


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    with own_process.running(Path(__file__).with_name("killed_reproduction.py")) as process:
        yield process


@contextmanager
def _trained(server: str, template: str, folder: Path) -> Iterator[Settings]:
    home = Path(tempfile.mkdtemp(dir=folder))
    with made_database(server, template) as url:
        settings = Settings(
            AI_INFRA_DATABASE_URL=url,
            home=home,
            artifact_root=(home / "store").as_uri(),
            signer_key_b64=local.generate(),
            signer_id="test",
        )
        trained_by(settings, home / "source", SCRIPT)
        yield settings


def _check_done_once(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        events = Counter(tx.execute(select(audit_events.c.event_type)).scalars())
        kept = tx.execute(select(reproductions.c.outcome, reproductions.c.request_id)).all()
        signed = tx.execute(select(attestations.c.predicate_type).where(attestations.c.predicate_type.contains("reproduction"))).all()
    assert [tuple(row) for row in kept] == [("different", "once")]
    assert (events["reproduction.checked"], len(signed)) == (1, 1)
    assert verifying.verify_history(settings).findings == []
    assert [path.name for path in (settings.home / "scratch").iterdir() if path.name.startswith("reproduction")] == []


@pytest.fixture(scope="module")
def calls(runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> int:
    place = _trained(postgres_server, migrated_template, tmp_path_factory.mktemp("undisturbed"))
    return own_process.calls_undisturbed(runner, place, _check_done_once)


def test_a_kill_after_the_one_write_and_a_rerun_leave_it_done_once(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int
) -> None:
    own_process.kill_and_run_again(runner, _trained(postgres_server, migrated_template, tmp_path), _check_done_once, calls)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_at_any_call_to_the_database_and_a_rerun_leave_it_done_once(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path, calls: int
) -> None:
    for at in range(1, calls + 1):
        own_process.kill_and_run_again(runner, _trained(postgres_server, migrated_template, tmp_path), _check_done_once, at)


def test_a_kill_while_the_training_runs_leaves_nothing_and_a_rerun_does_it(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path
) -> None:
    with _trained(postgres_server, migrated_template, tmp_path) as settings:
        (settings.home / "kill-in-training").touch()
        assert own_process.run_until(runner, settings, 0)["signal"] == 9
        with database.transaction(settings) as tx:
            assert tx.execute(select(reproductions.c.id)).all() == []
        assert own_process.run_until(runner, settings, 0)["exit"] == 0
        _check_done_once(settings)
