"""A database with a history, and nothing that guards it any more: what somebody with every right on it may edit by hand."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from aiinfra_core import evaluating, jobs, promoting, registering
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.checking.check import check_in
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.columns import metadata
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.training import TrainingSpec
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_checkpoints, audit_dead_letters, audit_deliveries, audit_events, audit_outbox, audit_tiles
from aiinfra_core.rollout_tables import rollout_batches, rollout_counts, rollout_reporters, rollout_units
from aiinfra_core.settings import Settings
from aiinfra_core.signing import local
from aiinfra_core.tables import STATE_TABLES, request_ids
from aiinfra_core.work_tables import job_leases, search_metrics, search_terms
from tests.simulators import kept_records, kept_rollouts
from tests.simulators.long_log import fill
from tests.simulators.postgres import made_database

EVIDENCE = (*STATE_TABLES, audit_events, audit_tiles, audit_checkpoints)
# They say how far work has come, and prove nothing.
OPERATIONAL = (
    request_ids,
    audit_outbox,
    audit_deliveries,
    audit_dead_letters,
    job_leases,
    search_terms,
    search_metrics,
    rollout_batches,
    rollout_reporters,
    rollout_counts,
    rollout_units,
)
FILLED = 260  # more than one tile holds

Story = tuple[Engine, Settings]


@pytest.fixture(scope="module")
def story(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Train, register, evaluate and promote three models, with checkpoints; then take every constraint and trigger away.

    Tests edit it in a transaction that is rolled back.
    """
    folder = tmp_path_factory.mktemp("story")
    with made_database(postgres_server, migrated_template) as url:
        settings = Settings(
            AI_INFRA_DATABASE_URL=url,
            home=folder / "home",
            artifact_root=(folder / "artifacts").as_uri(),
            signer_key_b64=local.generate(),
            signer_id="test",
        )
        lived(settings)
        engine = create_engine(url)
        with engine.begin() as tx:
            take_guards_away(tx)
        yield engine, settings
        engine.dispose()


def lived(settings: Settings) -> None:
    """Train, register, evaluate, reproduce and promote, with and without people who agree, roll out; write cards, import and prune."""
    signer = audit_signer(settings)
    fill(settings, FILLED, signer)
    for seed, model in enumerate(("rainfall", "rainfall", "snow")):
        spec = TrainingSpec(model=model, code_ref=f"/code@{'a' * 40}", container_digest=f"sha256:{'b' * 64}", seed=seed)
        job = jobs.train(settings, spec, requested_by="tess", on_output=lambda _: None)
        artifact = registering.register(settings, registering.registration_of(job))
        evaluating.record_measured(settings, artifact.id)
        asked = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul")
        promoting.promote(settings, asked)
        sequence_pending(settings, signer)
        checkpoints.checkpoint(settings, signer)
    kept_records.write_cards(settings)
    kept_records.import_some(settings)
    kept_records.prune_two(settings)
    kept_records.measure_and_reproduce(settings)
    kept_records.ask_people(settings)
    kept_rollouts.roll_out(settings)
    sequence_pending(settings, signer)
    checkpoints.checkpoint(settings, signer)


def take_guards_away(tx: Connection) -> None:
    """Take every constraint and trigger away, as an administrator could."""
    tx.execute(text("SET LOCAL client_min_messages = error"))
    for every in metadata.tables:
        tx.execute(text(f"ALTER TABLE {every} DISABLE TRIGGER USER"))
    constraints = (
        "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'"
    )
    for constrained, name in tx.execute(text(constraints)).all():
        tx.execute(text(f"ALTER TABLE {constrained} DROP CONSTRAINT IF EXISTS {name} CASCADE"))
    unique = "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON oid = indrelid WHERE indisunique AND relkind = 'r'"
    for name in tx.execute(text(f"{unique} AND relnamespace = 'public'::regnamespace")).scalars().all():
        tx.execute(text(f"DROP INDEX {name}"))
    for table in EVIDENCE:
        for column in table.columns:
            if not column.nullable:
                tx.execute(text(f"ALTER TABLE {table.name} ALTER COLUMN {column.name} DROP NOT NULL"))


def places(tx: Connection, settings: Settings) -> list[str]:
    """Return every finding of a check, as `PLACE: PROBLEM`."""
    return [f"{finding.place}: {finding.problem}" for finding in check_in(tx, settings).findings]
