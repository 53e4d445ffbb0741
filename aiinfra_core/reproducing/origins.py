"""Where a reproduction starts: the artifact, the training that made it, and its provenance, which must verify."""

from dataclasses import dataclass

from aiinfra_core import artifact_store, canonical_json, database
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.training import TrainingJob
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import ArtifactMissing, BadInput
from aiinfra_core.evidence.attestation import expect
from aiinfra_core.keys import trust_of
from aiinfra_core.registry import artifacts, evidence, jobs
from aiinfra_core.settings import Settings


@dataclass(frozen=True)
class Origin:
    """What is run again. `attestation` is the digest of its provenance, `trained_by` who ran it the first time.

    `environment` is the lock that was recorded; None where the training record is gone or says nothing of it.
    """

    artifact: Artifact
    job: TrainingJob
    attestation: str
    trained_by: str
    environment: dict[str, object] | None


def find(settings: Settings, reference: str) -> Origin:
    """Return what is recorded about an artifact's training.

    Raises:
        NotFound: there is no such artifact.
        BadInput: no recorded training made it.
        EvidenceBroken: the provenance does not verify.
    """
    with database.snapshot(settings) as tx:
        artifact = artifacts.find(tx, reference)
        if artifact.training_job_id is None:
            raise BadInput(f"{artifact.model}:{artifact.version} has no provenance, so there is nothing to run again; train it here.")
        job = jobs.get(tx, artifact.training_job_id)
        kept = evidence.of_training(tx, job)
        keys = evidence.keys_that_count(tx, trust_of(settings), Purpose.ARTIFACT, kept.envelope, at=job.created_at)
        expect(kept.envelope, keys, kept.expected)
        declared_by = evidence.executor_of(tx, job)
    assert job.attestation is not None  # noqa: S101 - its envelope was just read
    return Origin(artifact, job, job.attestation, declared_by or job.requested_by, _environment(settings, job))


def _environment(settings: Settings, job: TrainingJob) -> dict[str, object] | None:
    if not (job.training_record_uri and job.training_record_sha256):
        return None
    place = artifact_store.location_of(settings, job.training_record_uri)
    try:
        record = canonical_json.loads(artifact_store.read_bytes(place, job.training_record_uri, job.training_record_sha256))
    except ArtifactMissing:
        return None
    found = record.get("environment") if isinstance(record, dict) else None
    return found if isinstance(found, dict) else None
