"""What the HTTP API says to those who read: lineage, statements, what is current, events and proofs, with the wire's names.

Jobs, artifacts and promotions themselves are in `records`.
"""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from aiinfra_core.domain.reproduction import Outcome
from aiinfra_core.wire.records import Sent, SentArtifact, SentPromotion


class SentNode(Sent):
    """Something in the story of an artifact; `id` is its kind and its own id, `about` what is recorded of it."""

    id: str = Field(examples=["artifact:0b1d2c3e-8d1f-4a39-a3a5-4c5f3c1f7e21"])
    kind: Literal["artifact", "job", "code", "dataset", "container", "evaluation", "promotion", "import", "tombstone"]
    label: str = Field(examples=["rainfall:3"])
    about: dict[str, Any]


class SentEdge(Sent):
    """How two things belong together: read it as source, kind, target."""

    source: str
    kind: Literal[
        "made_by",
        "ran",
        "ran_in",
        "learned_from",
        "measured_on",
        "evaluates",
        "promotes",
        "judged_on",
        "follows",
        "replaced",
        "tells_of",
        "ended",
    ]
    target: str


class SentLineage(Sent):
    """Where an artifact comes from and what became of it; `truncated` where it has more evaluations or promotions than are shown."""

    artifact: SentArtifact
    nodes: tuple[SentNode, ...]
    edges: tuple[SentEdge, ...]
    truncated: bool


class SentStatement(Sent):
    """A signed statement: `envelopeBase64` holds the exact bytes that are kept, `envelope` is the same DSSE envelope as JSON."""

    digest: str
    predicate_type: str
    subject_checksum: str
    signer_id: str
    created_at: datetime
    envelope: dict[str, Any]
    envelope_base64: str


class SentCheck(Sent):
    """One thing that was checked."""

    name: str = Field(examples=["registration"])
    passed: bool
    detail: str


class SentReport(Sent):
    """What this service found when it checked an artifact; an auditor who does not trust it exports the evidence and checks alone."""

    artifact: SentArtifact
    verified: bool = Field(description="Whether every check passed.")
    checked_at: datetime
    checks: tuple[SentCheck, ...]


class SentReproduction(Sent):
    """What came out when a version's training was run again; `report` compares it file by file and names likely causes."""

    id: UUID
    artifact_id: UUID
    outcome: Outcome
    reproduced_checksum: str | None
    report: dict[str, Any]
    attestation: str
    reproduced_by: str
    started_at: datetime
    finished_at: datetime
    created_at: datetime


class SentEnvironment(Sent):
    """A place models are promoted to; they come in this order."""

    name: str = Field(examples=["staging"])
    order: int


class SentCurrent(Sent):
    """What is current for a model in an environment, and the signed manifest that made it so."""

    environment: str
    model: str
    sequence: int
    updated_at: datetime = Field(description="Since when it is current.")
    artifact: SentArtifact
    promotion: SentPromotion
    manifest: SentStatement


class SentEvent(Sent):
    """A row of the audit log, every column; `payload` and `metadata` are the exact texts that were hashed."""

    seq: int
    id: UUID
    event_type: str
    payload: str
    prev_hash: str | None
    hash: str
    signature: str
    signer_id: str
    ts: datetime
    created_at: datetime
    metadata: str
    version: int


class SentProof(Sent):
    """That an event is in the log: `entry` is what the tree holds of it, `proof` a C2SP tlog-proof with the checkpoint it leads to."""

    seq: int
    size: int = Field(description="How many entries the checkpoint covers.")
    entry: str
    proof: str


class SentCheckpoint(Sent):
    """The newest signed tree head; `note` is the signed note, byte for byte."""

    origin: str
    size: int
    root: str
    note: str
    created_at: datetime


class SentConsistency(Sent):
    """That the log of one checkpoint continues that of an earlier one: RFC 6962 hashes, in base64, and the same as a file."""

    from_size: int
    from_root: str
    to_size: int
    to_root: str
    hashes: tuple[str, ...]
    proof: str
    checkpoint: str = Field(description="The signed note of the later one.")
