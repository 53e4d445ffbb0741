"""Artifacts (immutable bytes with a digest), their registration as versions of a model, and evaluations of them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from aiinfra_core.domain.record import Actor, JsonObject, Location, Name, Record, RequestId, Sha256

SignatureName = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,256}$")]


class DigestKind(StrEnum):
    """How an artifact's checksum was made: of a file's bytes, or of a directory (Go dirhash Hash1, in hex)."""

    FILE = "sha256"
    DIRECTORY = "dirHash"


class StoredArtifact(Record):
    """Bytes in the artifact store; `checksum` is hex."""

    uri: str
    digest_kind: DigestKind
    checksum: Sha256
    size_bytes: int


class RegistrationRequest(Record):
    """Ask to register stored bytes as the next version of a model.

    `training_job_id` is empty for a model trained elsewhere; it is then labelled as without provenance.
    """

    model: Name = Field(description="Name of the model.")
    artifact_uri: Location = Field(description="Where the bytes are in the artifact store.")
    checksum: Sha256 = Field(description="Their digest, in hex.")
    training_job_id: UUID | None = Field(default=None, description="The job that made them, if one did.")
    metadata: JsonObject = Field(default_factory=dict, description="Kept with the version, as a JSON object.")
    manifest_signature_id: SignatureName | None = Field(
        default=None, description="Name of a signature another system made over a manifest."
    )
    registered_by: Actor = Field(description="Who registers it.")
    request_id: RequestId | None = Field(default=None, description="Your own name for this request; the same one is done once.")


class Artifact(Record):
    """One registered version of a model."""

    id: UUID
    model: Name
    version: int
    training_job_id: UUID | None
    artifact_uri: str
    digest_kind: DigestKind
    checksum: Sha256
    size_bytes: int
    metadata: dict[str, Any]
    manifest_signature_id: str | None
    signer_id: str
    signature: str
    attestation: Sha256
    registered_by: Actor
    created_at: datetime


class EvaluationKind(StrEnum):
    """Measured by the pipeline, or claimed by a caller."""

    MEASURED = "measured"
    CLAIMED = "claimed"


class JudgedEvaluation(Record):
    """The evaluation a promotion is judged on; `digest` covers artifact, kind and metrics, `attestation` is None until it is signed."""

    kind: EvaluationKind
    metrics: dict[str, Any]
    digest: Sha256
    attestation: Sha256 | None = None
    spec_digest: Sha256 | None = None


class Evaluation(Record):
    """How an artifact scored, kept with its signed statement; metrics are as measured or as they were claimed.

    `spec` is what was run to measure it; None where the training itself measured it, or somebody claimed it.
    """

    id: UUID
    artifact_id: UUID
    kind: EvaluationKind
    metrics: dict[str, Any]
    digest: Sha256
    attestation: Sha256 | None
    recorded_by: Actor
    created_at: datetime
    spec: dict[str, Any] | None = None
    spec_digest: Sha256 | None = None
