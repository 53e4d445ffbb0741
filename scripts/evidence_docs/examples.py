"""One small story in signed evidence, the same bytes every time: its key is published, so it vouches for nothing.

rainfall:1 is trained, registered, scanned, evaluated, reproduced, approved by a key and by somebody who is vouched for, and promoted to
prod; rainfall:2 follows it step by step, and somebody pauses that; a rollback goes back to rainfall:1; and that is exported. Of rainfall:2
only its promotion, approvals that were withdrawn again, where traffic went while it was rolled out, the order to pause, and its tombstone
are in the story. An import stands for itself.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aiinfra_core import merkle
from aiinfra_core.audit_log.append import event
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.evidence import checkpoint, log_proof, statement
from aiinfra_core.evidence.attestation import attest
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.evidence.checkpoint import Checkpoint
from aiinfra_core.evidence.entry import leaf
from aiinfra_core.registry.attestations import row_of
from scripts.evidence_docs import claimed

PROVEN = 1  # the index of the entry whose proof is published: the registration


@dataclass
class Story:
    """Envelopes by name, and the entries of a log that took them in."""

    envelopes: dict[str, bytes] = field(default_factory=dict)
    entries: list[bytes] = field(default_factory=list)
    head: Head = field(default_factory=Head)

    def sign(self, name: str, payload: bytes) -> str:
        """Add a signed statement and return its digest."""
        self.envelopes[f"{name}.dsse.json"] = attest(payload, claimed.SIGNER).envelope
        return statement.digest(payload)

    def enter(self, event_type: str, payload: bytes, at: datetime, digests: Mapping[str, str]) -> None:
        """Add the entry that takes a signed statement in; of the changed rows it holds only the statement's."""
        row = row_of(attest(payload, claimed.SIGNER), at)
        told = event(
            event_type,
            at=at,
            actor="ada",
            request_id=event_type,
            subject=str(claimed.id_of("artifact")),
            rows={"attestations": row},
            digests=digests,
        )
        chained = follow(self.head, told["payload"])
        signature = base64.b64encode(claimed.SIGNER.sign(bytes.fromhex(chained["hash"]))).decode()
        self.entries.append(leaf(chained | {"signature": signature, "signer_id": claimed.SIGNER.signer_id}))
        self.head = head_after(chained)


def examples() -> dict[str, bytes]:
    """Return file name -> bytes: an envelope of each kind, an entry of the log with its proof, the checkpoint, and the public key."""
    story = Story()
    current = _tell(story)
    leaves = [merkle.leaf_hash(entry) for entry in story.entries]
    head = Checkpoint(claimed.ORIGIN, len(leaves), merkle.root(leaves))
    story.sign("export", claimed.export(head, current))
    story.sign("import", claimed.imported())
    story.sign("tombstone", claimed.tombstone())
    note = checkpoint.sign(head, claimed.SIGNER)
    proof = log_proof.LogProof(PROVEN, tuple(merkle.inclusion_proof(PROVEN, len(leaves), _reader(leaves))), note)
    return {
        **story.envelopes,
        "entry.json": story.entries[PROVEN],
        "entry.tlog-proof": log_proof.write(proof),
        "checkpoint": note,
        "public-key.pem": claimed.SIGNER.public_key.pem.encode(),
    }


def _tell(story: Story) -> tuple[int, str]:
    trained = claimed.training()
    training = story.sign("training", trained)
    story.enter("training.completed", trained, claimed.at(10), {"training": training})
    registered = claimed.registration(training)
    registration = story.sign("registration", registered)
    story.enter("artifact.registered", registered, claimed.at(11), {"artifact": claimed.FIRST.checksum, "registration": registration})
    scanned = claimed.scan()
    story.enter("artifact.scanned", scanned, claimed.at(11), {"statement": story.sign("scan", scanned)})
    evaluated = claimed.evaluation(0.8641, 12, "days")
    evaluation = story.sign("evaluation", evaluated)
    story.enter("evaluation.recorded", evaluated, claimed.at(12), {"statement": evaluation})
    reproduced = claimed.reproduction(training)
    story.enter("reproduction.checked", reproduced, claimed.at(30), {"reproduction": story.sign("reproduction", reproduced)})
    measured = claimed.evaluation(0.8517, 30, "held-out", sha256_hex(b"evaluation spec"))
    story.enter("evaluation.recorded", measured, claimed.at(30), {"statement": story.sign("pipeline-evaluation", measured)})
    inputs, manifest, promotion = [registration, training, evaluation], None, ""
    for sequence, (name, subject) in enumerate(
        (("promotion", claimed.FIRST), ("next-promotion", claimed.SECOND), ("rollback", claimed.FIRST)), start=1
    ):
        promoted = claimed.promotion(
            sequence, subject, manifest, inputs if subject is claimed.FIRST else [sha256_hex(b"registration of rainfall:2")]
        )
        manifest = story.sign(name, promoted)
        if sequence == 1:
            promotion = manifest
            story.sign("approval", claimed.approval(manifest))
            story.sign("vouched-approval", claimed.vouched_approval(manifest))
        if sequence == 2:
            story.sign("routing", claimed.routing(promotion, manifest))
            story.sign("rollout-order", claimed.order(manifest))
            story.sign("withdrawal", claimed.withdrawal(manifest, sha256_hex(b"approval of rainfall:2"), None))
            story.sign("vouched-withdrawal", claimed.withdrawal(manifest, sha256_hex(b"vouched approval of rainfall:2"), claimed.ISSUER))
        story.enter("promotion.applied", promoted, claimed.at(40 + sequence), {"artifact": subject.checksum, "manifest": manifest})
    return 3, manifest or ""


def _reader(leaves: Sequence[bytes]) -> merkle.Node:
    return lambda level, index: merkle.root(leaves[index << level : (index + 1) << level])
