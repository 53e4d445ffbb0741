"""An import or a pruning killed at any call to the database, then run again: same rows, one event each, and no bytes left over."""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from aiinfra_core import artifact_store, database, verifying
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.tables import artifact_tombstones, attestations, imports, model_artifacts
from tests.simulators import own_process
from tests.simulators.go_service import go_service
from tests.simulators.postgres import made_database


@pytest.fixture(scope="module")
def runner() -> Iterator[subprocess.Popen[str]]:
    with own_process.running(Path(__file__).with_name("killed_upkeep.py")) as process:
        yield process


@contextmanager
def _fresh_place(server: str, template: str, folder: Path) -> Iterator[Settings]:
    """Give settings of their own, and run a service that has two artifacts which can be read, one which cannot, and a promotion."""
    home = Path(tempfile.mkdtemp(dir=folder))
    with made_database(server, template) as url, go_service() as old:
        settings = Settings(
            AI_INFRA_DATABASE_URL=url,
            home=home,
            artifact_root=(home / "store").as_uri(),
            signer_key_b64=local.generate(),
            signer_id="test",
        )
        (home / "old-service").write_text(old.url)
        for name in ("a", "b"):
            (home / name).write_text(name)
            stored = artifact_store.put(artifact_store.location(settings), home / name, f"old/{name}")
            old.promoted(old.trained(stored.uri, name.encode()), "prod")
        old.trained("s3://elsewhere/c", b"c")
        yield settings


def _check_done_once(settings: Settings) -> None:
    with database.transaction(settings) as tx:
        events = Counter(tx.execute(select(audit_events.c.event_type)).scalars())
        outcomes = sorted(outcome.partition(":")[0] for outcome in tx.execute(select(imports.c.outcome)).scalars())
        assert tx.execute(select(model_artifacts.c.version).order_by(model_artifacts.c.created_at)).scalars().all() == [1, 2]
        assert tx.execute(select(func.count()).select_from(artifact_tombstones)).scalar_one() == 1
        assert tx.execute(select(func.count()).select_from(attestations)).scalar_one() == 2 * 2 + 8 + 1
    assert events == {"artifact.registered": 2, "artifact.scanned": 2, "import.recorded": 8, "artifact.pruned": 1}
    assert outcomes == ["history"] * 2 + ["recorded"] * 3 + ["registered as default", "registered as default", "unreadable"]
    assert sorted(path.name for path in (settings.home / "store" / "old").iterdir()) == ["b"]
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


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
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
