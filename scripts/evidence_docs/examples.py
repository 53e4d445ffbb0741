"""One small story in signed evidence, the same bytes every time: its key is published, so it vouches for nothing.

rainfall:1 is trained, registered, scanned, evaluated, reproduced, approved by a key and by somebody who is vouched for, and promoted to
prod; rainfall:2 follows it step by step, and somebody pauses that; a rollback goes back to rainfall:1; and that is exported. Of rainfall:2
only its promotion, approvals that were withdrawn again, where traffic went while it was rolled out, the order to pause, and its tombstone
are in the story. An import stands for itself.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from aiinfra_core import merkle
from aiinfra_core.audit_log.append import event
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.domain.artifact import Artifact, DigestKind, EvaluationKind
from aiinfra_core.domain.rollout import Action
from aiinfra_core.domain.rollout_spec import Unit
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.evidence import checkpoint, confirmations, custody, log_proof, rollouts, statement, statements
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.evidence.statement import Subject
from aiinfra_core.registry.attestations import row_of
from aiinfra_core.signing import local

SEED_B64 = base64.b64encode(bytes(range(32))).decode()
SIGNER = local.from_base64(SEED_B64, "example")
ORIGIN = "example.com/ai-infra"
BYTES = b"rainfall 1\n"
PROVEN = 1  # the index of the entry whose proof is published: the registration

_START = datetime(2026, 3, 1, 9, tzinfo=UTC)
_FIRST = Subject("rainfall", DigestKind.FILE, sha256_hex(BYTES))
_SECOND = Subject("rainfall", DigestKind.FILE, sha256_hex(b"rainfall 2\n"))
_ISSUER = "https://login.example.com"
_RECORD = sha256_hex(b"training.json of rainfall:1")


@dataclass
class Story:
    """Envelopes by name, and the entries of a log that took them in."""

    envelopes: dict[str, bytes] = field(default_factory=dict)
    entries: list[bytes] = field(default_factory=list)
    head: Head = field(default_factory=Head)

    def sign(self, name: str, payload: bytes) -> str:
        """Add a signed statement and return its digest."""
        self.envelopes[f"{name}.dsse.json"] = attest(payload, SIGNER).envelope
        return statement.digest(payload)

    def enter(self, event_type: str, payload: bytes, at: datetime, digests: Mapping[str, str]) -> None:
        """Add the entry that takes a signed statement in; of the changed rows it holds only the statement's."""
        row = row_of(attest(payload, SIGNER), at)
        told = event(
            event_type,
            at=at,
            actor="ada",
            request_id=event_type,
            subject=str(_id("artifact")),
            rows={"attestations": row},
            digests=digests,
        )
        chained = follow(self.head, told["payload"])
        signature = base64.b64encode(SIGNER.sign(bytes.fromhex(chained["hash"]))).decode()
        self.entries.append(leaf(chained | {"signature": signature, "signer_id": SIGNER.signer_id}))
        self.head = head_after(chained)


def examples() -> dict[str, bytes]:
    """Return file name -> bytes: an envelope of each kind, an entry of the log with its proof, the checkpoint, and the public key."""
    story = Story()
    current = _tell(story)
    leaves = [merkle.leaf_hash(entry) for entry in story.entries]
    head = Checkpoint(ORIGIN, len(leaves), merkle.root(leaves))
    story.sign("export", _export(head, current))
    story.sign("import", _imported())
    story.sign("tombstone", _tombstone())
    note = checkpoint.sign(head, SIGNER)
    proof = log_proof.LogProof(PROVEN, tuple(merkle.inclusion_proof(PROVEN, len(leaves), _reader(leaves))), note)
    return {
        **story.envelopes,
        "entry.json": story.entries[PROVEN],
        "entry.tlog-proof": log_proof.write(proof),
        "checkpoint": note,
        "public-key.pem": SIGNER.public_key.pem.encode(),
    }


def _tell(story: Story) -> tuple[int, str]:
    trained = _training()
    training = story.sign("training", trained)
    story.enter("training.completed", trained, _at(10), {"training": training})
    registered = _registration(training)
    registration = story.sign("registration", registered)
    story.enter("artifact.registered", registered, _at(11), {"artifact": _FIRST.checksum, "registration": registration})
    scanned = _scan()
    story.enter("artifact.scanned", scanned, _at(11), {"statement": story.sign("scan", scanned)})
    evaluated = _evaluation(0.8641, 12, "days")
    evaluation = story.sign("evaluation", evaluated)
    story.enter("evaluation.recorded", evaluated, _at(12), {"statement": evaluation})
    reproduced = _reproduction(training)
    story.enter("reproduction.checked", reproduced, _at(30), {"reproduction": story.sign("reproduction", reproduced)})
    measured = _evaluation(0.8517, 30, "held-out", sha256_hex(b"evaluation spec"))
    story.enter("evaluation.recorded", measured, _at(30), {"statement": story.sign("pipeline-evaluation", measured)})
    inputs, manifest, promotion = [registration, training, evaluation], None, ""
    for sequence, (name, subject) in enumerate((("promotion", _FIRST), ("next-promotion", _SECOND), ("rollback", _FIRST)), start=1):
        promoted = _promotion(sequence, subject, manifest, inputs if subject is _FIRST else [sha256_hex(b"registration of rainfall:2")])
        manifest = story.sign(name, promoted)
        if sequence == 1:
            promotion = manifest
            story.sign("approval", _approval(manifest))
            story.sign("vouched-approval", _vouched_approval(manifest))
        if sequence == 2:
            story.sign("routing", _routing(promotion, manifest))
            story.sign("rollout-order", _order(manifest))
            story.sign("withdrawal", _withdrawal(manifest, sha256_hex(b"approval of rainfall:2"), None))
            story.sign("vouched-withdrawal", _withdrawal(manifest, sha256_hex(b"vouched approval of rainfall:2"), _ISSUER))
        story.enter("promotion.applied", promoted, _at(40 + sequence), {"artifact": subject.checksum, "manifest": manifest})
    return 3, manifest or ""


def _training() -> bytes:
    spec = TrainingSpec(
        model="rainfall",
        code_ref=f"https://git.example.com/rain.git@{'c0ffee' * 6}c0de",
        container_digest=f"sha256:{sha256_hex(b'container')}",
        entry_point="train.py",
        hyperparams={"depth": 3},
        dataset_refs=(DatasetRef(name="days", uri="https://data.example.com/days.csv", sha256=sha256_hex(b"days")),),
        seed=7,
    )
    return statements.training(
        job_id=_id("job"), spec=spec, subject=_FIRST, training_record_sha256=_RECORD, started_at=_at(0), finished_at=_at(10)
    )


def _registration(training: str) -> bytes:
    return statements.registration(
        artifact_id=_id("artifact"),
        model="rainfall",
        subject=_FIRST,
        artifact_uri="s3://models/artifacts/rainfall.model",
        metadata={},
        registered_by="ada",
        registered_at=_at(11),
        training_job_id=_id("job"),
        training_attestation=training,
    )


def _evaluation(quality: float, minutes: int, data: str, spec_digest: str | None = None) -> bytes:
    return statements.evaluation(
        artifact_id=_id("artifact"),
        model="rainfall",
        subject=_FIRST,
        kind=EvaluationKind.MEASURED,
        metrics={"quality": quality},
        evaluation_digest=sha256_hex(b"evaluation of rainfall:1" + (b" on held-out days" if spec_digest else b"")),
        recorded_by="ada",
        evaluated_at=_at(minutes),
        datasets={data: sha256_hex(b"held-out days" if spec_digest else b"days")},
        spec_digest=spec_digest,
    )


def _scan() -> bytes:
    return confirmations.scan(
        artifact_id=_id("artifact"),
        model="rainfall",
        subject=_FIRST,
        scanner="picklescan 1.0.4",
        verdict="safe",
        findings_digest=sha256_hex(b"findings"),
        scanned_by="ada",
        scanned_at=_at(11),
    )


def _reproduction(training: str) -> bytes:
    return confirmations.reproduction(
        artifact_id=_id("artifact"),
        model="rainfall",
        subject=_FIRST,
        training_attestation=training,
        outcome="identical",
        reproduced_checksum=_FIRST.checksum,
        report_digest=sha256_hex(b"report"),
        reproduced_by="grace",
        started_at=_at(20),
        finished_at=_at(30),
    )


def _promotion(sequence: int, subject: Subject, follows: str | None, inputs: Sequence[str]) -> bytes:
    return statements.promotion(
        promotion_id=_id(f"promotion {sequence}"),
        model="rainfall",
        version=1 if subject is _FIRST else 2,
        environment="prod",
        subject=subject,
        sequence=sequence,
        follows=follows,
        requested_by="ada",
        policy_uri="urn:ai-infra:policy:local:sentinel-allow",
        policy_digest=sha256_hex(b"policy"),
        input_attestations=inputs,
        verified_at=_at(40 + sequence),
        replaces=_id("promotion 2") if sequence == 3 else None,
        rollout_digest=sha256_hex(b"rollout of rainfall:2") if sequence == 2 else None,
        approvals_required={"ml-lead": 1, "security": 1} if sequence < 3 else None,
    )


def _agreed(manifest: str, approver: str) -> dict[str, Any]:
    return {
        "promotion_id": _id("promotion 1"),
        "model": "rainfall",
        "environment": "prod",
        "subject": _FIRST,
        "manifest": manifest,
        "approver": approver,
        "approved_at": _at(41),
        "expires_at": _at(41) + timedelta(days=7),
    }


def _approval(manifest: str) -> bytes:
    return confirmations.approval(**_agreed(manifest, "grace"))


def _vouched_approval(manifest: str) -> bytes:
    return confirmations.vouched_approval(**_agreed(manifest, "lin"), roles=["ml-lead"], issuer=_ISSUER)


def _withdrawal(manifest: str, approval: str, issuer: str | None) -> bytes:
    return confirmations.withdrawal(
        approval=approval,
        promotion_id=_id("promotion 2"),
        model="rainfall",
        environment="prod",
        subject=_SECOND,
        manifest=manifest,
        withdrawn_by="lin" if issuer else "grace",
        withdrawn_at=_at(42),
        issuer=issuer,
    )


def _routing(champion: str, challenger: str) -> bytes:
    split = rollouts.Split(rollout_id=_id("rollout"), step=0, weight=500, salt="rainfall-prod-2", unit=Unit.USER)
    return rollouts.routing(
        environment="prod",
        sequence=1,
        changes=1,
        champion=(_artifact(1, _FIRST), champion),
        challenger=(_artifact(2, _SECOND), challenger),
        split=split,
        issued_at=_at(41),
        expires_at=_at(51),
    )


def _artifact(version: int, subject: Subject) -> Artifact:
    return Artifact(
        id=_id("artifact" if version == 1 else f"artifact {version}"),
        model="rainfall",
        version=version,
        training_job_id=None,
        artifact_uri=f"s3://models/artifacts/rainfall{'' if version == 1 else f'-{version}'}.model",
        digest_kind=subject.digest_kind,
        checksum=subject.checksum,
        size_bytes=11,
        metadata={},
        manifest_signature_id=None,
        signer_id=SIGNER.signer_id,
        signature="",
        attestation=sha256_hex(b"registration"),
        registered_by="ada",
        created_at=_at(11),
    )


def _order(manifest: str) -> bytes:
    return rollouts.order(
        rollout_id=_id("rollout"),
        model="rainfall",
        environment="prod",
        subject=_SECOND,
        manifest=manifest,
        action=Action.PAUSE,
        reason="a load test is on",
        ordered_by="grace",
        ordered_at=_at(42),
    )


def _export(head: Checkpoint, current: tuple[int, str]) -> bytes:
    return custody.export(
        artifact_id=_id("artifact"),
        model="rainfall",
        version=1,
        environment="prod",
        subject=_FIRST,
        current=current,
        head=head,
        files=sha256_hex(b"FILES.SHA256"),
        exported_by="ada",
        exported_at=_at(60),
    )


def _imported() -> bytes:
    return custody.imported(
        source="https://old.example.com",
        kind="artifact",
        original_id="7",
        document='{"artifactUri":"s3://models/artifacts/rainfall.model","id":"7"}',
        artifact_id=_id("artifact"),
        outcome="registered as rainfall:1",
        imported_by="ada",
        imported_at=_at(11),
    )


def _tombstone() -> bytes:
    return custody.tombstone(
        artifact_id=_id("artifact 2"),
        model="rainfall",
        version=2,
        subject=_SECOND,
        artifact_uri="s3://models/artifacts/rainfall-2.model",
        reason="nobody goes back to it",
        rule={"olderThanDays": 90, "keepLast": 1, "rollbackTargets": 2},
        pruned_by="ada",
        pruned_at=_at(70),
    )


def _reader(leaves: Sequence[bytes]) -> merkle.Node:
    return lambda level, index: merkle.root(leaves[index << level : (index + 1) << level])


def _at(minutes: int) -> datetime:
    return _START + timedelta(minutes=minutes)


def _id(name: str) -> UUID:
    return uuid5(NAMESPACE_URL, f"https://example.com/ai-infra/{name}")
