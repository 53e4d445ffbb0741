"""A history with jobs that were released, lost and done by others: verified, exported, told from forgeries, and made again."""

from pathlib import Path
from uuid import UUID

import pytest
from pydantic import SecretStr

from aiinfra_core import artifact_store, database, evaluating, jobs, rebuilding, registering
from aiinfra_core.audit_log.delivering.delivery import deliver
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import AiInfraError, BadInput
from aiinfra_core.evidence import claims
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.evidence.bundle import read
from aiinfra_core.exporting.export import export
from aiinfra_core.keys import configured_signer
from aiinfra_core.registry import artifacts
from aiinfra_core.registry.leases import Claimed
from aiinfra_core.running import executors
from aiinfra_core.settings import Settings
from aiinfra_core.wire.executing import CompleteJob
from tests.simulators.exports import with_trust
from tests.simulators.leased_jobs import LIMIT, check_history, claimed, get, let_expire, queue, take_back
from tests.simulators.lost_database import all_rows, publish
from tests.simulators.postgres import made_database

CODE = f"https://git.example.org/rainfall@{'3f' * 20}"


def said(settings: Settings, lease: Claimed, tmp_path: Path) -> CompleteJob:
    """Store a model and return what an executor says of it."""
    file = tmp_path / f"{lease.job.id}.bin"
    file.write_bytes(b"weights")
    stored = artifact_store.put(artifact_store.location(settings), file, f"elsewhere/{file.name}")
    return CompleteJob(lease_token=lease.token, artifact_uri=stored.uri, checksum=stored.checksum, metrics={"quality": 0.93})


def done_elsewhere(settings: Settings, tmp_path: Path) -> UUID:
    """Have a job lost once and then done by an executor that is not ours."""
    (job_id,) = queue(settings, CODE, 1)
    claimed(settings, "gone")
    let_expire(settings, job_id)
    take_back(settings, job_id)
    executors.complete(settings, job_id, said(settings, claimed(settings), tmp_path), by="kim")
    return job_id


def lost_for_good(settings: Settings) -> UUID:
    (job_id,) = queue(settings, CODE, 2)
    for _ in range(LIMIT):
        claimed(settings)
        let_expire(settings, job_id)
        take_back(settings, job_id)
    return job_id


def test_a_lost_database_with_released_and_lost_jobs_is_made_again_row_for_row(
    settings: Settings, postgres_server: str, migrated_template: str, tmp_path: Path
) -> None:
    before = settings.model_copy(update={"audit_sinks": ((tmp_path / "archive").as_uri(),)})
    done_elsewhere(before, tmp_path)
    lost_for_good(before)
    check_history(before)
    publish(before)
    deliver(before)
    with made_database(postgres_server, migrated_template) as url:
        after = before.model_copy(update={"database_url": SecretStr(url)})
        rebuilding.rebuild(after, (tmp_path / "archive").as_uri())
        check_history(after)
        kept, made = all_rows(before), all_rows(after)
    for name in ("training_jobs", "attestations", "model_artifacts", "evaluations", "audit_events"):
        assert made[name] == kept[name], name
        assert kept[name], name


def test_what_was_done_elsewhere_is_exported_and_verifies_with_its_declared_provenance(settings: Settings, tmp_path: Path) -> None:
    trusted = with_trust(settings)
    job = get(trusted, done_elsewhere(trusted, tmp_path))
    done = export(trusted, "rainfall:1", tmp_path / "export", exported_by="ada")
    record = done.folder / "training" / f"{job.training_record_sha256}.json"
    assert b'"declaredBy":"kim"' in record.read_bytes()
    assert read(done.folder).files


@pytest.mark.parametrize("forged", ["as our own", "by somebody else"])
def test_what_was_done_elsewhere_cannot_be_exported_as_our_own_or_as_anothers(settings: Settings, tmp_path: Path, forged: str) -> None:
    trusted = with_trust(settings)
    queue(trusted, CODE, 1)
    lease = claimed(trusted)
    asked = said(trusted, lease, tmp_path)
    stored = artifact_store.verify(artifact_store.location(trusted), asked.artifact_uri, asked.checksum)
    record = executors.training_record(lease.job, asked, by="kim")
    completed = jobs.completion(trusted, lease.job, stored, record, exit_code=0, metrics=asked.metrics)
    declared_by = None if forged == "as our own" else "eve"
    statement = attest(claims.of_training(completed, declared_by), configured_signer(trusted, Purpose.ARTIFACT))
    job = jobs.record_completion(trusted, completed, statement, by="kim", token=lease.token)
    registering.register(trusted, registering.registration_of(job))
    problem = "tells of another executor" if forged == "as our own" else "told by somebody else"
    with pytest.raises(AiInfraError, match=problem):
        export(trusted, "rainfall:1", tmp_path / "export", exported_by="ada")


def test_what_an_executor_says_it_measured_is_nothing_a_promotion_is_judged_on_by_itself(settings: Settings, tmp_path: Path) -> None:
    done_elsewhere(settings, tmp_path)
    with database.transaction(settings) as tx:
        artifact = artifacts.find(tx, "rainfall:1")
        assert evaluating.evaluation_to_judge(tx, artifact, None) is None


def test_another_commit_than_the_jobs_completes_nothing(settings: Settings, tmp_path: Path) -> None:
    (job_id,) = queue(settings, CODE, 1)
    asked = said(settings, claimed(settings), tmp_path).model_copy(update={"commit": "4a" * 20})
    with pytest.raises(BadInput, match="pinned to"):
        executors.complete(settings, job_id, asked, by="kim")
