"""A platform with a history and an archive of it, and an empty database to make it again in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from aiinfra_core import database, evaluating, jobs, promoting, rebuilding, registering
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.delivering.delivery import deliver
from aiinfra_core.columns import metadata
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.errors import AiInfraError, Unavailable
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings
from tests import factories
from tests.simulators import kept_records, kept_rollouts
from tests.simulators.postgres import made_database

# What is not told of in the log, or says how far the log went.
NOT_REBUILT = {
    "request_ids",
    "job_leases",
    "audit_deliveries",
    "audit_dead_letters",
    "audit_outbox",
    "rollout_batches",
    "rollout_reporters",
    "rollout_counts",
    "rollout_units",
}


@dataclass(frozen=True)
class Lost:
    """The settings of a platform whose history is archived in a directory, and the same with an empty database."""

    before: Settings
    empty: Settings
    archive: Path

    @property
    def address(self) -> str:
        return self.archive.as_uri()

    def entries(self) -> list[Path]:
        """Return the files of the archived events, oldest first."""
        found = [path for path in self.archive.rglob("*.json") if path.is_file()]
        return sorted(found, key=lambda path: int(path.read_bytes().partition(b'"seq":')[2].partition(b",")[0]))


def ask(settings: Settings, artifact: str, environment: str, quality: float | None = None) -> Promotion:
    evaluation = None if quality is None else {"quality": quality}
    asked = PromotionRequest(artifact=artifact, environment=environment, evaluation=evaluation, requested_by="paul")
    return promoting.promote(settings, asked)


def live(settings: Settings, code_ref: str) -> None:
    """Train, fail, register, evaluate, reproduce, promote, agree, roll out, write cards, import, prune: all rows and all their moves."""
    for seed in (1, 2, 3):
        spec = factories.training_spec(code_ref, seed=seed)
        job = jobs.train(settings, spec, requested_by="tess", on_output=lambda _: None)
        asked = registering.registration_of(job).model_copy(update={"metadata": {"note": f"{seed} is a long story. " * 400}})
        artifact = registering.register(settings, asked)
        evaluating.record_measured(settings, artifact.id)
        ask(settings, str(artifact.id), "staging")
        ask(settings, str(artifact.id), "prod", 0.2 if seed == 2 else 0.9)
    broken = TrainingSpec(**{**factories.training_spec(code_ref).model_dump(), "entry_point": "fail.py"})
    jobs.train(settings, broken, requested_by="tess", on_output=lambda _: None)
    kept_records.write_cards(settings)
    kept_records.import_some(settings)
    kept_records.prune_two(settings)
    kept_records.measure_and_reproduce(settings)
    kept_records.ask_people(settings)
    kept_rollouts.roll_out(settings)


def publish(settings: Settings) -> bytes:
    """Sign the head of the log and publish it outside the database; return its note."""
    published = checkpoints.checkpoint(settings, audit_signer(settings))
    assert published is not None
    return published.note


@pytest.fixture
def lost(settings: Settings, postgres_server: str, migrated_template: str, tmp_path: Path) -> Iterator[Lost]:
    archive = tmp_path / "archive"
    before = settings.model_copy(update={"audit_sinks": (archive.as_uri(),)})
    live(before, factories.make_training_repository(tmp_path / "code"))
    publish(before)
    (done,) = deliver(before)
    assert (done.problem, done.set_aside) == (None, 0)
    with made_database(postgres_server, migrated_template) as url:
        yield Lost(before, before.model_copy(update={"database_url": SecretStr(url)}), archive)


def all_rows(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table, by the table's name."""
    with database.transaction(settings) as tx:
        tables = {
            name: [{str(column): value for column, value in row.items()} for row in tx.execute(select(table)).mappings()]
            for name, table in metadata.tables.items()
        }
    return {name: sorted(rows, key=repr) for name, rows in tables.items()}


def is_empty(settings: Settings) -> bool:
    """Tell whether no table has a row."""
    return not any(all_rows(settings).values())


def refusal(lost: Lost, archive: Path, **options: Any) -> str:
    """Return what a rebuild from an archive says, which must be a refusal that leaves the database empty."""
    with pytest.raises(AiInfraError) as refused:
        rebuilding.rebuild(lost.empty, archive.as_uri(), **options)
    assert not isinstance(refused.value, Unavailable)
    assert is_empty(lost.empty)
    return str(refused.value)
