"""For each record: the envelope that is kept for it, the statement it has to hold, and whose signature counts under it.

The statement is made from the rows again, so that whoever changes a row has to explain a signature that says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Text, bindparam, case, cast, select

from aiinfra_core import canonical_json, checksums
from aiinfra_core.audit_log.snapshot import snapshot
from aiinfra_core.domain.approval import Withdrawal
from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.reproduction import Reproduction
from aiinfra_core.domain.rollout import RolloutOrder
from aiinfra_core.domain.scan import Scan
from aiinfra_core.domain.training import DatasetRef, TrainingJob
from aiinfra_core.domain.trust import Purpose, Trust, is_bounded
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import claims, dsse, rollouts, statement
from aiinfra_core.evidence.confirmation_predicates import VouchedWithdrawal
from aiinfra_core.evidence.predicates import Promotion as PromotionManifest
from aiinfra_core.evidence.predicates import Training as TrainingProvenance
from aiinfra_core.evidence.trust import keys_for
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import attestations, jobs
from aiinfra_core.registry.approvals import Given
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.signing.public_key import PublicKey

_FIRST_PAGE, _LARGEST_PAGE = 100, 10_000
_MENTIONED = cast(audit_events.c.payload, Text).contains(bindparam("digest"))
_NEXT_PAGE = (
    select(audit_events.c.seq, audit_events.c.created_at, case((_MENTIONED, cast(audit_events.c.payload, Text))).label("mention"))
    .where(audit_events.c.created_at >= bindparam("since"))
    .order_by(audit_events.c.created_at)
    .limit(bindparam("size"))
)


@dataclass(frozen=True)
class Kept:
    """The stored envelope of a record, and the payload it must have."""

    envelope: bytes
    expected: bytes


def of_training(tx: Connection, job: TrainingJob) -> Kept:
    """Return the provenance of a completed job.

    Raises:
        BadInput: the job is not completed.
    """
    envelope = attestations.envelope(tx, job.attestation or "")
    return Kept(envelope, claims.of_training(job, declared_by(envelope)))


def executor_of(tx: Connection, job: TrainingJob) -> str | None:
    """Return who declared how a completed job was run, None where we ran it ourselves.

    Raises:
        EvidenceBroken: its provenance cannot be read.
    """
    return declared_by(attestations.envelope(tx, job.attestation or ""))


def declared_by(envelope: bytes) -> str | None:
    """Return who declared how a training was run, as its provenance says; None where we ran it ourselves.

    Raises:
        EvidenceBroken: it is not a provenance, or cannot be read.
    """
    provenance = statement.parse(dsse.parse(envelope).payload).predicate
    if not isinstance(provenance, TrainingProvenance):
        raise EvidenceBroken("predicate type", "the training job's attestation is not a provenance.")
    return provenance.run_details.builder.declared_by


def of_registration(tx: Connection, artifact: Artifact) -> Kept:
    """Return the registration of an artifact."""
    training = _job_of(tx, artifact)
    expected = claims.of_registration(artifact, training.attestation if training else None)
    return Kept(attestations.envelope(tx, artifact.attestation), expected)


def of_evaluation(tx: Connection, artifact: Artifact, evaluation: Evaluation) -> Kept:
    """Return the signed evaluation of an artifact."""
    expected = claims.of_evaluation(artifact, evaluation, datasets_of(tx, artifact, evaluation))
    return Kept(attestations.envelope(tx, evaluation.attestation or ""), expected)


def of_reproduction(tx: Connection, artifact: Artifact, reproduction: Reproduction) -> Kept:
    """Return the signed reproduction of an artifact.

    Raises:
        EvidenceBroken: the artifact has no provenance that could be followed.
    """
    job = _job_of(tx, artifact)
    if job is None or job.attestation is None:
        raise EvidenceBroken("inputs", "it reproduces an artifact that no recorded training made.")
    return Kept(attestations.envelope(tx, reproduction.attestation or ""), claims.of_reproduction(reproduction, artifact, job.attestation))


def of_scan(tx: Connection, artifact: Artifact, scan: Scan) -> Kept:
    """Return the signed scan of an artifact."""
    return Kept(attestations.envelope(tx, scan.attestation or ""), claims.of_scan(scan, artifact))


def of_withdrawal(tx: Connection, known: Dossier, given: Given, withdrawal: Withdrawal) -> Kept:
    """Return the signed withdrawal of an approval; who named those who withdrew it is what the kept one says."""
    envelope = attestations.envelope(tx, withdrawal.attestation)
    said = statement.parse(dsse.parse(envelope).payload).predicate
    issuer = said.issuer if isinstance(said, VouchedWithdrawal) else None
    return Kept(envelope, claims.of_withdrawal(withdrawal, given.approval, known.promotion, known.artifact, issuer))


def of_order(tx: Connection, known: Dossier, order: RolloutOrder) -> Kept:
    """Return what somebody ordered about the rollout of a promotion, as it was signed."""
    expected = rollouts.order(
        rollout_id=order.rollout_id,
        model=known.artifact.model,
        environment=known.promotion.environment,
        subject=claims.subject_of(known.artifact),
        manifest=known.promotion.manifest or "",
        action=order.action,
        step=order.step,
        reason=order.reason,
        ordered_by=order.ordered_by,
        ordered_at=order.created_at,
    )
    return Kept(attestations.envelope(tx, order.attestation), expected)


def of_promotion(known: Dossier) -> Kept:
    """Return the manifest of an approved promotion.

    Raises:
        EvidenceBroken: there is no manifest, or what is kept is none.
        BadInput: the gate said no.
    """
    if known.manifest_envelope is None:
        raise EvidenceBroken("envelope", f"promotion {known.promotion.id} has no manifest.")
    manifest = statement.parse(dsse.parse(known.manifest_envelope).payload).predicate
    if not isinstance(manifest, PromotionManifest):
        raise EvidenceBroken("predicate type", "the promotion's attestation is not a promotion manifest.")
    verified_at = datetime.fromisoformat(manifest.time_verified)
    return Kept(known.manifest_envelope, claims.of_promotion(known.promotion, known.artifact, known.input_attestations, verified_at))


def depends_on_the_log(trust: Trust, envelope: bytes) -> bool:
    """Return whether it depends on when and where the log took an envelope in what its signature is worth.

    Raises:
        EvidenceBroken: at `envelope` or `payload type`; it is no envelope.
    """
    signers = {signature.keyid for signature in dsse.parse(envelope).signatures}
    return any(is_bounded(entry) for entry in trust.keys if entry.keyid in signers)


def keys_that_count(
    tx: Connection, trust: Trust, purpose: Purpose, envelope: bytes, *, at: datetime, environment: str | None = None
) -> dict[str, PublicKey]:
    """Return keyid -> key of those whose signature counts under a stored envelope.

    The log is asked only where the signer's key has an end or a beginning, or is compromised: then its time and index decide, and
    without an entry that took the envelope in it is as if it had been signed now.

    Args:
        tx: reads rows and log.
        trust: whose signatures count.
        purpose: of the statement.
        envelope: the stored bytes.
        at: when the row says it was kept; the log has it then or later.
        environment: that it is about, where it is about one.

    Raises:
        EvidenceBroken: at `envelope` or `payload type`; it is no envelope.
    """
    if not depends_on_the_log(trust, envelope):
        return keys_for(trust, purpose, at=at, environment=environment)
    index, moment = taken_in(tx, envelope, at) or (None, datetime.now(UTC))
    return keys_for(trust, purpose, at=moment, index=index, environment=environment)


def taken_in(tx: Connection, envelope: bytes, at: datetime) -> tuple[int, datetime] | None:
    """Return where (from 0) and when the log took these exact envelope bytes in; None when it has not, or not since `at`.

    Raises:
        EvidenceBroken: at `envelope` or `payload type`; it is no envelope.
    """
    digest = checksums.sha256_hex(dsse.parse(envelope).payload)
    kept = snapshot({"digest": digest, "envelope": envelope})
    size = _FIRST_PAGE
    while rows := tx.execute(_NEXT_PAGE, {"since": at, "digest": digest, "size": size}).all():
        for row in rows:
            if row.mention is not None and kept.items() <= _attestation_in(row.mention).items():
                return row.seq - 1, row.created_at
        at, size = rows[-1].created_at + timedelta(microseconds=1), min(size * 10, _LARGEST_PAGE)
    return None


def datasets_of(tx: Connection, artifact: Artifact, evaluation: Evaluation) -> tuple[DatasetRef, ...]:
    """Return the datasets an evaluation was measured on: its spec's, else its training's; none for a claim."""
    if evaluation.spec is not None:
        return EvaluationSpec.model_validate(evaluation.spec).dataset_refs
    job = _job_of(tx, artifact) if evaluation.kind is EvaluationKind.MEASURED else None
    return job.spec.dataset_refs if job else ()


def _job_of(tx: Connection, artifact: Artifact) -> TrainingJob | None:
    return None if artifact.training_job_id is None else jobs.get(tx, artifact.training_job_id)


def _attestation_in(payload: str) -> Mapping[str, Any]:
    try:
        row = canonical_json.loads(payload)["rows"]["attestations"]
    except (BadInput, KeyError, TypeError):
        return {}
    return row if isinstance(row, dict) else {}
