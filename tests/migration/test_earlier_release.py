"""A registry that the release before rollouts wrote: what it recorded still verifies, moves on, and can be made again.

`registry_of_004.copy` is what that release (its last migration is 004) left in the tables: two versions trained, registered, evaluated and
promoted, approvals and withdrawals, and a promotion that waits; signed with the published key of the examples.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from aiinfra_core import artifact_store, database, migrate, promoting, rebuilding, registering, verifying
from aiinfra_core.approving import waiting
from aiinfra_core.audit_log import checkpoints
from aiinfra_core.audit_log.delivering.delivery import deliver
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.domain.artifact import RegistrationRequest
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus
from aiinfra_core.keys import audit_signer
from aiinfra_core.registry import promotions
from aiinfra_core.settings import Settings
from scripts.evidence_docs.claimed import SEED_B64, SIGNER
from tests.simulators.lost_database import NOT_REBUILT, all_rows
from tests.simulators.postgres import made_database

KEPT = Path(__file__).with_name("registry_of_004.copy")
LATER = "005_rollouts"
_TABLE = re.compile(r"(?ms)^(COPY [^\n]+ FROM STDIN);\n(.*?)^\\\.\n")


@pytest.fixture
def migrated(empty_database_url: str, tmp_path: Path) -> Settings:
    """Give an installation over the kept registry, migrated by this release."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        for path in sorted((migrate.sql_folder() / "migrations").glob("*.sql")):
            if path.stem < LATER:
                connection.execute(path.read_bytes())
        with connection.transaction():
            _load(connection)
    assert LATER in migrate.migrate(empty_database_url)
    return Settings(
        AI_INFRA_DATABASE_URL=empty_database_url,
        home=tmp_path / "home",
        artifact_root=(tmp_path / "artifacts").as_uri(),
        signer_key_b64=SEED_B64,
        signer_id=SIGNER.signer_id,
    )


def _load(connection: psycopg.Connection) -> None:
    tables = _TABLE.findall(KEPT.read_text())
    assert len(tables) > 10
    for statement, rows in tables:
        with connection.cursor().copy(statement.encode()) as copy:
            copy.write(rows)


def test_rows_that_an_earlier_release_told_of_are_those_its_events_told(migrated: Settings) -> None:
    history = verifying.verify_history(migrated)
    assert (history.findings, history.waiting) == ([], 0)
    with database.transaction(migrated) as tx:
        assert len(promotions.pointers(tx)) == 2


@pytest.mark.parametrize("change", ["rollback = '{}'", "rollout = '{}'", "overrides = gen_random_uuid()", "follows = NULL"])
def test_what_is_written_by_hand_into_a_later_column_of_an_earlier_row_is_found(migrated: Settings, change: str) -> None:
    with database.transaction(migrated) as tx:
        tx.execute(text("ALTER TABLE model_promotions DISABLE TRIGGER USER"))
        assert tx.execute(text(f"UPDATE model_promotions SET {change} WHERE status = 'rejected' AND sequence_seen = 1")).rowcount == 1
    found = verifying.verify_history(migrated).findings
    assert [finding.problem for finding in found] == [f"{change.split()[0]} differs from its last event"]


def test_earlier_rows_move_on_and_are_made_again_from_the_archive(migrated: Settings, postgres_server: str, migrated_template: str) -> None:
    archiving = migrated.model_copy(update={"audit_sinks": ((migrated.home / "archive").as_uri(),)})
    with database.transaction(migrated) as tx:
        (waits,) = tx.execute(text("SELECT id FROM model_promotions WHERE status = 'pending_approval'")).scalars()
    _promote_another(archiving)
    waiting.go_on(archiving)
    with database.transaction(migrated) as tx:
        assert promotions.get(tx, waits).status is PromotionStatus.SUPERSEDED
    sequence_pending(archiving, audit_signer(archiving))
    checkpoints.checkpoint(archiving, audit_signer(archiving))
    assert verifying.verify_history(archiving).findings == []
    (done,) = deliver(archiving)
    assert done.problem is None
    with _empty(archiving, postgres_server, migrated_template) as again:
        rebuilding.rebuild(again, (migrated.home / "archive").as_uri(), read_artifacts=False)
        before, after = all_rows(archiving), all_rows(again)
    assert {name: after[name] for name in before.keys() - NOT_REBUILT} == {name: before[name] for name in before.keys() - NOT_REBUILT}


def _promote_another(settings: Settings) -> None:
    settings.home.mkdir(exist_ok=True)
    source = settings.home / "model.bin"
    source.write_bytes(b"another")
    stored = artifact_store.put(artifact_store.location(settings), source, "uploads/another")
    request = RegistrationRequest(model="rainfall", artifact_uri=stored.uri, checksum=stored.checksum, registered_by="rita")
    version = registering.register(settings, request)
    asked = PromotionRequest(artifact=str(version.id), environment="prod", evaluation={"quality": 0.99}, requested_by="paul")
    assert promoting.promote(settings, asked).status is PromotionStatus.APPLIED


@contextmanager
def _empty(settings: Settings, server: str, template: str) -> Iterator[Settings]:
    with made_database(server, template) as url:
        yield settings.model_copy(update={"database_url": SecretStr(url)})
