"""The story of `make demo`, twice: it tells every chapter, ends well, and duplicates nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from aiinfra_core import database
from aiinfra_core.columns import metadata
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.tables import model_artifacts

REPOSITORY = Path(__file__).parents[2]


def _demo() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "examples.rainfall.demo"],
        cwd=REPOSITORY,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _counts() -> dict[str, int]:
    with database.transaction(current_settings()) as tx:
        return {name: tx.execute(select(func.count()).select_from(table)).scalar_one() for name, table in metadata.tables.items()}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("home")
def test_the_demo_tells_its_story_and_told_again_duplicates_nothing() -> None:
    story = _demo()
    for part in (
        "score       ROC AUC 0.86",
        "registered  rainfall:1, signed by development",
        "staging     applied; the policy says: It was measured by the pipeline",
        "yes: sha256:",
        "flow promote: PendingApproval",
        "waits       it needs 1 as release-manager",
        "prod        applied: rainfall:1 is current, asked for by demo, agreed to by grace",
        "rainfall:2 to prod: rejected and recorded",
        "is below the required 0.8",
        "It was not trained again from its provenance; next: aiinfra reproduce rainfall:2",
        "approval by grace of sequence 1 in prod: signed by a trusted key",
        "caught: ",
        "events chained and signed, every row matches its last event",
        "not-applicable 12 current",
        "one byte of a signed statement changed: ",
        "Prefect UI:  http://127.0.0.1:",
        "aiinfra verify rainfall@prod",
    ):
        assert part in story, f"{part!r} is missing in:\n{story}"
    assert "BROKEN" not in story
    before = _counts()
    assert "prod        applied" in _demo()
    assert _counts() == before
    with database.transaction(current_settings()) as tx:
        assert tx.execute(select(model_artifacts.c.version).order_by(model_artifacts.c.version)).scalars().all() == [1, 2]
