"""The statement each record must have: pure functions from a record to the exact bytes that are, or have to be, signed.

Signing and verifying call the same function, so a record and its signed statement cannot drift apart unnoticed.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.approval import Approval, Means, Withdrawal
from aiinfra_core.domain.artifact import Artifact, DigestKind, Evaluation, StoredArtifact
from aiinfra_core.domain.imported import Imported
from aiinfra_core.domain.promotion import Decision, Promotion
from aiinfra_core.domain.reproduction import Reproduction
from aiinfra_core.domain.scan import Scan
from aiinfra_core.domain.tombstone import Tombstone
from aiinfra_core.domain.training import DatasetRef, TrainingJob
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence import confirmations, custody, statements
from aiinfra_core.evidence.statement import Subject


def of_training(job: TrainingJob, declared_by: str | None = None) -> bytes:
    """Return the provenance of a completed training job; `declared_by` is who ran it, where that was not us.

    Raises:
        BadInput: the job is not completed.
    """
    if not (job.checksum and job.digest_kind and job.training_record_sha256 and job.started_at and job.finished_at):
        raise BadInput(f"Training job {job.id} is {job.status}; only a completed one has a provenance.")
    return statements.training(
        job_id=job.id,
        spec=job.spec,
        subject=Subject(job.spec.model, DigestKind(job.digest_kind), job.checksum),
        training_record_sha256=job.training_record_sha256,
        started_at=job.started_at,
        finished_at=job.finished_at,
        declared_by=declared_by,
    )


def of_registration(artifact: Artifact, training_attestation: str | None) -> bytes:
    """Return the registration of an artifact."""
    return statements.registration(
        artifact_id=artifact.id,
        model=artifact.model,
        subject=subject_of(artifact),
        artifact_uri=artifact.artifact_uri,
        metadata=artifact.metadata,
        registered_by=artifact.registered_by,
        registered_at=artifact.created_at,
        training_job_id=artifact.training_job_id,
        training_attestation=training_attestation,
        manifest_signature_id=artifact.manifest_signature_id,
    )


def of_evaluation(artifact: Artifact, evaluation: Evaluation, datasets: Sequence[DatasetRef]) -> bytes:
    """Return the evaluation of an artifact; `datasets` are those it was measured on, none for a claim."""
    return statements.evaluation(
        artifact_id=artifact.id,
        model=artifact.model,
        subject=subject_of(artifact),
        kind=evaluation.kind,
        metrics=evaluation.metrics,
        evaluation_digest=evaluation.digest,
        recorded_by=evaluation.recorded_by,
        evaluated_at=evaluation.created_at,
        datasets={ref.name: ref.sha256 for ref in datasets},
        spec_digest=evaluation.spec_digest,
    )


def of_promotion(promotion: Promotion, artifact: Artifact, input_attestations: Sequence[str], verified_at: datetime) -> bytes:
    """Return the manifest of a promotion the gate said yes to.

    Raises:
        BadInput: there is no yes.
    """
    if promotion.decision is None or not promotion.decision.allowed:
        raise BadInput(f"Promotion {promotion.id} has no yes of the gate, so it has no manifest.")
    return statements.promotion(
        promotion_id=promotion.id,
        model=artifact.model,
        version=artifact.version,
        environment=promotion.environment,
        subject=subject_of(artifact),
        sequence=promotion.sequence_seen + 1,
        follows=promotion.follows,
        requested_by=promotion.requested_by,
        policy_uri=policy_uri(promotion.decision),
        policy_digest=promotion.decision.policy_digest,
        input_attestations=input_attestations,
        verified_at=verified_at,
        approvals_required=promotion.approvals_required,
        rollout_digest=promotion.rollout.digest() if promotion.rollout else None,
        overrides=promotion.overrides,
        replaces=promotion.rollback.replaces if promotion.rollback else None,
    )


def of_reproduction(reproduction: Reproduction, artifact: Artifact, training_attestation: str) -> bytes:
    """Return what came out when an artifact's training was run again from the provenance of that digest."""
    return confirmations.reproduction(
        artifact_id=artifact.id,
        model=artifact.model,
        subject=subject_of(artifact),
        training_attestation=training_attestation,
        outcome=reproduction.outcome.value,
        reproduced_checksum=reproduction.reproduced_checksum,
        report_digest=sha256_hex(canonical_json.dumps(reproduction.report)),
        reproduced_by=reproduction.reproduced_by,
        started_at=reproduction.started_at,
        finished_at=reproduction.finished_at,
    )


def of_scan(scan: Scan, artifact: Artifact) -> bytes:
    """Return what was found in an artifact."""
    findings = [finding.model_dump(mode="json", by_alias=True) for finding in scan.findings]
    return confirmations.scan(
        artifact_id=artifact.id,
        model=artifact.model,
        subject=subject_of(artifact),
        scanner=scan.scanner,
        verdict=scan.verdict.value,
        findings_digest=sha256_hex(canonical_json.dumps(findings)),
        scanned_by=scan.scanned_by,
        scanned_at=scan.created_at,
    )


def of_approval(approval: Approval, promotion: Promotion, artifact: Artifact, issuer: str | None = None) -> bytes:
    """Return an approval of a promotion's manifest; `issuer` is who named the approver, where they have no key.

    Raises:
        BadInput: it is by a key but has an issuer, or the other way round.
    """
    if (issuer is None) != (approval.means is Means.KEY):
        raise BadInput("An approval has an issuer if it is by identity, and only then.")
    agreed: dict[str, Any] = {
        "promotion_id": promotion.id,
        "model": artifact.model,
        "environment": promotion.environment,
        "subject": subject_of(artifact),
        "manifest": approval.manifest,
        "approver": approval.approver,
        "approved_at": approval.created_at,
        "expires_at": approval.expires_at,
    }
    if issuer is None:
        return confirmations.approval(**agreed)
    return confirmations.vouched_approval(**agreed, roles=approval.roles, issuer=issuer)


def of_withdrawal(withdrawal: Withdrawal, approval: Approval, promotion: Promotion, artifact: Artifact, issuer: str | None = None) -> bytes:
    """Return the withdrawal of an approval; `issuer` is who named those who withdrew it, where they have no key."""
    return confirmations.withdrawal(
        approval=approval.attestation,
        promotion_id=promotion.id,
        model=artifact.model,
        environment=promotion.environment,
        subject=subject_of(artifact),
        manifest=approval.manifest,
        withdrawn_by=withdrawal.withdrawn_by,
        withdrawn_at=withdrawal.created_at,
        issuer=issuer,
    )


def of_import(record: Imported) -> bytes:
    """Return the statement that a record of another service came here as it did."""
    return custody.imported(
        source=record.source,
        kind=record.kind.value,
        original_id=record.original_id,
        document=record.document,
        artifact_id=record.artifact_id,
        outcome=record.outcome,
        imported_by=record.imported_by,
        imported_at=record.created_at,
    )


def of_tombstone(tombstone: Tombstone, artifact: Artifact) -> bytes:
    """Return the tombstone of an artifact."""
    return custody.tombstone(
        artifact_id=artifact.id,
        model=artifact.model,
        version=artifact.version,
        subject=subject_of(artifact),
        artifact_uri=artifact.artifact_uri,
        reason=tombstone.reason,
        rule=tombstone.rule.model_dump(by_alias=True),
        pruned_by=tombstone.pruned_by,
        pruned_at=tombstone.created_at,
    )


def policy_uri(decision: Decision) -> str:
    """Return the name a manifest gives the policy that decided: `urn:ai-infra:policy:SOURCE:POLICY_ID`."""
    return f"urn:ai-infra:policy:{decision.source}:{quote(decision.policy_id or 'unnamed', safe='')}"


def subject_of(artifact: Artifact) -> Subject:
    """Return the subject of every statement about an artifact."""
    return Subject(artifact.model, artifact.digest_kind, artifact.checksum)


def stored_subject(model: str, stored: StoredArtifact) -> Subject:
    """Return the subject of a statement about bytes that are not registered yet."""
    return Subject(model, stored.digest_kind, stored.checksum)
