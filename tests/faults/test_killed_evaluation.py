"""An evaluation killed at any call to the database, or while its script runs, then run again: one evaluation, one event, nothing left."""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from aiinfra_core import database, verifying
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.tables import attestations, evaluations
from tests.simulators import own_process
from tests.simulators.evaluation_script import SCORE, evaluation_spec
from tests.simulators.own_process import run_until
from tests.simulators.postgres import made_database


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    with own_process.running(Path(__file__).with_name("killed_evaluation.py")) as process:
        yield process


@contextmanager
def _fresh_place(server: str, template: str, folder: Path) -> Iterator[Settings]:
    """Give settings of their own, with the spec of a script that says when it has begun."""
    home = Path(tempfile.mkdtemp(dir=folder))
    with made_database(server, template) as url:
        spec = evaluation_spec(home / "code", f"print('begun', flush=True)\n{SCORE}")
        (home / "spec.json").write_text(spec.model_dump_json(by_alias=True))
        store = (home / "store").as_uri()
        yield Settings(AI_INFRA_DATABASE_URL=url, home=home, artifact_root=store, signer_key_b64=local.generate(), signer_id="test")


def _check_done_once(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        events = Counter(tx.execute(select(audit_events.c.event_type)).scalars())
        (row,) = tx.execute(select(evaluations)).mappings().all()
        signed = list(tx.execute(select(attestations.c.predicate_type).where(attestations.c.digest == row["attestation"])).scalars())
    assert (events["artifact.registered"], events["evaluation.recorded"]) == (1, 1)
    assert (row["metrics"], row["kind"], len(signed)) == ('{"days":3,"quality":0.9}', "measured", 1)
    history = verifying.verify_history(settings)
    assert (history.findings, history.waiting) == ([], 0)
    assert not [*settings.home.glob("scratch/*/run")]


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


@pytest.mark.parametrize("share", [0.85])
def test_a_kill_and_a_rerun_leave_what_an_undisturbed_evaluation_leaves(
    kill_and_run_again: Callable[[int], None], calls: int, share: float
) -> None:
    kill_and_run_again(round(share * calls))


def test_after_a_kill_while_the_script_runs_the_same_call_measures(
    runner: subprocess.Popen[str], postgres_server: str, migrated_template: str, tmp_path: Path
) -> None:
    with _fresh_place(postgres_server, migrated_template, tmp_path) as settings:
        (settings.home / "die-while-it-runs").touch()
        assert run_until(runner, settings, 0)["signal"] == 9
        assert run_until(runner, settings, 0)["exit"] == 0
        _check_done_once(settings)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_at_any_call_to_the_database_and_a_rerun_leave_what_an_undisturbed_evaluation_leaves(
    kill_and_run_again: Callable[[int], None], calls: int
) -> None:
    assert calls > 10
    for at in range(1, calls + 1):
        kill_and_run_again(at)
