"""One statement of each kind, with fields that a test may change."""

from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import Artifact, DigestKind, EvaluationKind
from aiinfra_core.domain.rollout import Action
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.evidence import confirmations, custody, rollouts, statements
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.statement import Subject

ID = UUID("7b0f3a52-3c1e-4a5e-9d8e-0a1b2c3d4e5f")
HEX = "ab" * 32
COMMIT = "c0ffee" * 6 + "c0de"
SUBJECT = Subject("rainfall", DigestKind.FILE, HEX)
MOMENT = datetime(2026, 3, 1, 11, 22, 33, 45, tzinfo=timezone(timedelta(hours=1)))
WRITTEN = "2026-03-01T10:22:33.000045Z"


def spec(datasets: int = 1, **changes: Any) -> TrainingSpec:
    refs = tuple(DatasetRef(name=f"data-{n}", uri=f"s3://bucket/data-{n}.parquet", sha256=sha256_hex(b"%d" % n)) for n in range(datasets))
    fields = {
        "model": "rainfall",
        "code_ref": f"https://git.example/rain.git@{COMMIT}",
        "container_digest": f"sha256:{HEX}",
        "entry_point": "train.py",
        "hyperparams": {"depth": 3, "rate": 0.1},
        "dataset_refs": refs,
        "seed": 2**32 - 1,
    }
    return TrainingSpec.model_validate({**fields, **changes})


def training(asked: TrainingSpec | None = None) -> bytes:
    return statements.training(
        job_id=ID, spec=asked or spec(), subject=SUBJECT, training_record_sha256=HEX, started_at=MOMENT, finished_at=MOMENT
    )


def registration(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact_id": ID,
        "model": "rainfall",
        "subject": SUBJECT,
        "artifact_uri": "s3://models/x",
        "metadata": {"owner": "weather"},
        "registered_by": "ada",
        "registered_at": MOMENT,
        "training_job_id": ID,
        "training_attestation": HEX,
    }
    return statements.registration(**{**fields, **changes})


def evaluation(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact_id": ID,
        "model": "rainfall",
        "subject": SUBJECT,
        "kind": EvaluationKind.MEASURED,
        "metrics": {"quality": "0.8641"},
        "evaluation_digest": HEX,
        "recorded_by": "ada",
        "evaluated_at": MOMENT,
        "datasets": {"held-out": HEX},
    }
    return statements.evaluation(**{**fields, **changes})


def promotion(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "promotion_id": ID,
        "model": "rainfall",
        "version": 3,
        "environment": "prod",
        "subject": SUBJECT,
        "sequence": 8,
        "follows": HEX,
        "requested_by": "ada",
        "policy_uri": "urn:ai-infra:policy:local:sentinel-allow",
        "policy_digest": HEX,
        "input_attestations": [HEX],
        "verified_at": MOMENT,
        "approvers": ["grace"],
    }
    return statements.promotion(**{**fields, **changes})


def reproduction(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact_id": ID,
        "model": "rainfall",
        "subject": SUBJECT,
        "training_attestation": HEX,
        "outcome": "identical",
        "reproduced_checksum": HEX,
        "report_digest": HEX,
        "reproduced_by": "ada",
        "started_at": MOMENT,
        "finished_at": MOMENT,
    }
    return confirmations.reproduction(**{**fields, **changes})


def approval(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "promotion_id": ID,
        "model": "rainfall",
        "environment": "prod",
        "subject": SUBJECT,
        "manifest": HEX,
        "approver": "grace",
        "approved_at": MOMENT,
        "expires_at": MOMENT + timedelta(days=1),
    }
    return confirmations.approval(**{**fields, **changes})


def vouched_approval(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "promotion_id": ID,
        "model": "rainfall",
        "environment": "prod",
        "subject": SUBJECT,
        "manifest": HEX,
        "approver": "lin",
        "approved_at": MOMENT,
        "expires_at": MOMENT + timedelta(days=1),
        "roles": ["security", "ml-lead"],
        "issuer": "https://login.example",
    }
    return confirmations.vouched_approval(**{**fields, **changes})


def withdrawal(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "approval": HEX,
        "promotion_id": ID,
        "model": "rainfall",
        "environment": "prod",
        "subject": SUBJECT,
        "manifest": HEX,
        "withdrawn_by": "grace",
        "withdrawn_at": MOMENT,
    }
    return confirmations.withdrawal(**{**fields, **changes})


def order(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "rollout_id": ID,
        "model": "rainfall",
        "environment": "prod",
        "subject": SUBJECT,
        "manifest": HEX,
        "action": Action.PAUSE,
        "step": 1,
        "reason": "a load test",
        "ordered_by": "grace",
        "ordered_at": MOMENT,
    }
    return rollouts.order(**{**fields, **changes})


def routing(**changes: Any) -> bytes:
    """Where traffic goes while a challenger has 5 %."""
    fields: dict[str, Any] = {
        "environment": "prod",
        "sequence": 3,
        "changes": 1,
        "champion": (artifact(), HEX),
        "challenger": (artifact(version=4), HEX),
        "split": rollouts.Split(ID, 0, 500, "salt-of-prod", Unit.USER),
        "issued_at": MOMENT,
        "expires_at": MOMENT + timedelta(minutes=10),
    }
    return rollouts.routing(**{**fields, **changes})


def artifact(**changes: Any) -> Artifact:
    fields: dict[str, Any] = {
        "id": ID,
        "model": "rainfall",
        "version": 3,
        "training_job_id": None,
        "artifact_uri": "s3://models/x",
        "digest_kind": DigestKind.FILE,
        "checksum": HEX,
        "size_bytes": 1,
        "metadata": {},
        "manifest_signature_id": None,
        "signer_id": "test",
        "signature": "",
        "attestation": HEX,
        "registered_by": "ada",
        "created_at": MOMENT,
    }
    return Artifact(**{**fields, **changes})


def vouched_withdrawal(**changes: Any) -> bytes:
    return withdrawal(**{"issuer": "https://login.example", **changes})


def scan(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact_id": ID,
        "model": "rainfall",
        "subject": SUBJECT,
        "scanner": "picklescan 1.0.4",
        "verdict": "safe",
        "findings_digest": HEX,
        "scanned_by": "ada",
        "scanned_at": MOMENT,
    }
    return confirmations.scan(**{**fields, **changes})


def export(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact_id": ID,
        "model": "rainfall",
        "version": 3,
        "environment": "prod",
        "subject": SUBJECT,
        "current": (8, HEX),
        "head": Checkpoint("aiinfra.example/log", 41, bytes.fromhex(HEX)),
        "files": HEX,
        "exported_by": "ada",
        "exported_at": MOMENT,
    }
    return custody.export(**{**fields, **changes})


DOCUMENT = '{"id":"old"}'


def imported(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "source": "https://old.example/registry",
        "kind": "artifact",
        "original_id": "old",
        "document": DOCUMENT,
        "artifact_id": ID,
        "outcome": "registered as rainfall:3",
        "imported_by": "ada",
        "imported_at": MOMENT,
    }
    return custody.imported(**{**fields, **changes})


def tombstone(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "artifact_id": ID,
        "model": "rainfall",
        "version": 3,
        "subject": SUBJECT,
        "artifact_uri": "s3://models/x",
        "reason": "nobody uses it",
        "rule": {"olderThanDays": 90, "keepLast": 3, "rollbackTargets": 2},
        "pruned_by": "ada",
        "pruned_at": MOMENT,
    }
    return custody.tombstone(**{**fields, **changes})
