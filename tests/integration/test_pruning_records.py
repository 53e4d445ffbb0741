"""Records of the product are no artifacts: never registered as such, and never removed."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from aiinfra_core import artifact_store, database, pruning, registering
from aiinfra_core.artifact_store import reserved
from aiinfra_core.domain.training import JobStatus
from aiinfra_core.errors import BadInput, Conflict
from aiinfra_core.registry import tombstones
from aiinfra_core.running import executors
from aiinfra_core.settings import Settings
from aiinfra_core.tables import training_jobs
from aiinfra_core.wire.executing import CompleteJob
from tests.simulators.leased_jobs import claimed, get, queue
from tests.simulators.pruned_artifacts import (
    NONE_KEPT,
    path_of,
    pruned,
    registered,
    request_of,
    signed_tombstone,
)


@pytest.mark.parametrize("name", ["audit", "checkpoints", "logs", "training", "trust"])
def test_records_of_the_product_are_never_registered_nor_removed(settings: Settings, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = settings.home / "record"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"{}")
    stored = artifact_store.put(artifact_store.location(settings), source, f"{name}/record.json")
    asked = request_of(stored)
    with pytest.raises(BadInput, match="use another key"):
        registering.register(settings, asked)
    with monkeypatch.context() as before:
        before.setattr(reserved, "NAMES", frozenset())  # as it was registered before the names were kept
        artifact = registering.register(settings, asked)
    (planned,) = pruning.plan(settings, NONE_KEPT)
    assert planned.stays == "it is where records are kept"
    assert pruned(settings) == []
    with database.transaction(settings) as tx:
        assert tombstones.bury(tx, [signed_tombstone(settings, artifact)], NONE_KEPT, datetime.now(UTC))
    assert pruning.finish(settings) == 0
    assert path_of(artifact).exists()


def test_what_an_executor_says_it_made_is_neither_a_record_nor_where_bytes_were_removed(settings: Settings) -> None:
    gone = registered(settings, "v1")
    pruned(settings)
    source = settings.home / "v1"
    place = artifact_store.location(settings)
    artifact_store.put(place, source, "uploads/v1")
    (job_id,) = queue(settings, "https://code.example/repo@" + "a" * 40, 1)
    lease = claimed(settings)
    assert lease.token is not None
    for uri, error in ((artifact_store.put(place, source, "training/v1").uri, BadInput), (gone.artifact_uri, Conflict)):
        asked = CompleteJob(lease_token=lease.token, artifact_uri=uri, checksum=gone.checksum)
        with pytest.raises(error, match="another key"):
            executors.complete(settings, job_id, asked, by="kim")
    assert get(settings, job_id).status is JobStatus.RUNNING


def test_a_folder_that_holds_a_root_and_records_below_any_root_are_no_artifacts(settings: Settings) -> None:
    many = settings.model_copy(
        update={
            "artifact_root": "s3://ours/prod",
            "artifact_roots": ("s3://ours",),
            "checkpoint_root": "s3://log/x",
            "audit_sinks": ("s3://ours/a",),
        }
    )
    for uri in (
        "s3://ours/prod",
        "s3://ours/prod/logs/1.log",
        "s3://ours/trust/1",
        "s3://log/x/checkpoints/o/1",
        "s3://ours/a/audit/1",
        "s3://ours/a",
    ):
        with pytest.raises(BadInput):
            reserved.refuse(many, uri)
    for uri in ("s3://ours/prod/models/logs", "s3://ours/prod-2/logs", "s3://ours/training-2/a"):
        reserved.refuse(many, uri)


@pytest.mark.parametrize("column", ["training_record_uri", "log_uri"])
def test_what_a_training_names_as_its_record_stays_wherever_it_is(settings: Settings, column: str) -> None:
    artifact = registered(settings, "v1")
    (job_id,) = queue(settings, "https://code.example/repo@" + "a" * 40, 1)
    with database.transaction(settings) as tx:
        tx.execute(update(training_jobs).where(training_jobs.c.id == job_id).values({column: artifact.artifact_uri}))
    assert pruning.plan(settings, NONE_KEPT) == []
    with database.transaction(settings) as tx:
        assert not tombstones.bury(tx, [signed_tombstone(settings, artifact)], NONE_KEPT, datetime.now(UTC))
    assert path_of(artifact).exists()
