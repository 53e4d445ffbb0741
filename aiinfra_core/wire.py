"""What the HTTP API says, as records with the wire's names: the service writes them, the client reads them.

The names of a job, an artifact and a promotion are those of the service this one replaces (DESIGN §10); more may be added, none may
change. How they are sent lives in `http_api`, how they are asked for in `client`.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, Strict

from aiinfra_core.domain.artifact import Artifact, EvaluationKind, SignatureName
from aiinfra_core.domain.card import Card
from aiinfra_core.domain.promotion import Promotion
from aiinfra_core.domain.record import Actor, JsonObject, Location, Name, Record, Sha256
from aiinfra_core.domain.training import (
    CodeRef,
    ContainerDigest,
    DatasetRef,
    DatasetRefs,
    EntryPoint,
    Lease,
    Seed,
    TrainingJob,
    TrainingSpec,
)


class Sent(Record):
    """A record as it is sent; a reader takes no notice of fields it does not know, so that a newer service may add some."""

    model_config = ConfigDict(extra="ignore")


class SentJob(Sent):
    """A training job."""

    id: UUID
    model: str
    code_ref: str
    container_digest: str
    entry_point: str | None
    hyperparams: dict[str, Any]
    dataset_refs: tuple[DatasetRef, ...]
    seed: int
    status: str
    requested_by: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    error: str | None
    artifact_uri: str | None
    checksum: str | None
    metrics: dict[str, Any] | None
    attestation: str | None
    log_uri: str | None
    digest_kind: str | None
    size_bytes: int | None
    training_record_sha256: str | None
    training_record_uri: str | None
    request_id: str
    flow_run_id: UUID | None = Field(default=None, description="The Prefect run that does it, if one does.")


class SentArtifact(Sent):
    """A registered version of a model; `provenance` says whether a recorded training made it."""

    id: UUID
    training_job_id: UUID | None
    artifact_uri: str
    checksum: str
    metadata: dict[str, Any]
    signer_id: str
    signature: str
    manifest_signature_id: str | None
    created_at: datetime
    model: str
    version: int
    digest_kind: str
    size_bytes: int
    attestation: str
    registered_by: str
    provenance: str = Field(description="`trained` by a recorded job here, or `no provenance`.")


class SentDecision(Sent):
    """What the gate said."""

    allowed: bool
    policy_id: str | None
    reason: str
    source: str | None = None
    policy_version: str | None = None
    rule_id: str | None = None
    decision: str | None = None
    policy_digest: str | None = None
    unavailable: bool = False
    answer: dict[str, Any] | None = None


class SentPromotion(Sent):
    """A promotion and how it ended; `sequence` is the one its manifest is for."""

    id: UUID
    artifact_id: UUID
    environment: str
    status: str
    evaluation: dict[str, Any]
    sentinel_decision: SentDecision | None
    promoted_by: str
    promoted_at: datetime | None
    signature: str | None
    signer_id: str | None
    created_at: datetime
    model: str
    evaluation_kind: EvaluationKind | None
    reason: str | None
    sequence: int
    manifest: str | None
    follows: str | None
    updated_at: datetime
    request_id: str


class SentModel(Sent):
    """An artifact and what became of it, newest promotion first."""

    artifact: SentArtifact
    promotions: tuple[SentPromotion, ...]


class Problem(Sent):
    """Why a request was not carried out (RFC 9457), with the text also under `error`; what does not apply is left out."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    error: str
    code: str = Field(
        default="problem", description="What kind of problem it is, for programs: `not_found`, `digest_mismatch`, `unavailable`, …"
    )
    part: str | None = Field(default=None, description="The part that is missing, where one is: `database`, `signer`, …")
    place: str | None = Field(default=None, description="Where something recorded does not verify, where that is the problem.")
    request_id: str | None = None
    promotion: SentPromotion | None = Field(default=None, description="The promotion that was recorded as refused, where one was.")


def sent_job(job: TrainingJob, flow_run_id: UUID | None = None) -> SentJob:
    """Return a job as it is sent."""
    own = {name: getattr(job, name) for name in SentJob.model_fields if name in TrainingJob.model_fields}
    spec = {name: getattr(job.spec, name) for name in TrainingSpec.model_fields}
    return SentJob.model_construct(**own, **spec, flow_run_id=flow_run_id)


def sent_artifact(artifact: Artifact) -> SentArtifact:
    """Return an artifact as it is sent."""
    own = {name: getattr(artifact, name) for name in Artifact.model_fields}
    return SentArtifact.model_construct(**own, provenance="trained" if artifact.training_job_id else "no provenance")


def sent_promotion(promotion: Promotion) -> SentPromotion:
    """Return a promotion as it is sent."""
    own = {name: getattr(promotion, name) for name in SentPromotion.model_fields if name in Promotion.model_fields}
    said = None if promotion.decision is None else SentDecision.model_construct(**dict(promotion.decision))
    return SentPromotion.model_construct(
        **own,
        sentinel_decision=said,
        promoted_by=promotion.requested_by,
        promoted_at=promotion.applied_at,
        sequence=promotion.sequence_seen + 1,
    )


class AskedTraining(Record):
    """A training that is asked for; without a seed one is drawn and recorded."""

    code_ref: CodeRef
    container_digest: ContainerDigest
    entry_point: EntryPoint | None = Field(default=None, description="Script to run; without one the inputs alone make the artifact.")
    hyperparams: JsonObject = Field(default_factory=dict, description="What the training is told, as a JSON object.")
    dataset_refs: DatasetRefs = ()
    seed: Annotated[Seed, Strict()] | None = Field(default=None, description="Where all randomness starts; without one it is drawn.")
    model: Name | None = Field(default=None, description="Name of the model; without one, what `codeRef` ends in.")


class AskedRegistration(Record):
    """Stored bytes that are to become the next version of a model; a training job brings its model."""

    training_job_id: UUID | None = Field(default=None, description="The job that made them, if one did.")
    artifact_uri: Location = Field(max_length=2048, description="Where the bytes are, under a root this service may read.")
    checksum: Sha256 = Field(description="Their digest, in hex.")
    metadata: JsonObject = Field(default_factory=dict, description="Kept with the version, as a JSON object.")
    manifest_signature_id: SignatureName | None = Field(
        default=None, description="Name of a signature another system made over a manifest."
    )
    model: Name | None = Field(default=None, description="Name of the model, needed where no job made it.")


class AskedPromotion(Record):
    """A registered artifact that is to become current in an environment."""

    artifact_id: UUID = Field(description="The artifact.")
    environment: str = Field(min_length=1, max_length=128, description="Where it is to become current.")
    evaluation: JsonObject | None = Field(
        default=None, description="Scores you claim, such as `quality`; without them, what its training measured is judged."
    )
    requested_by: Actor | None = Field(
        default=None, description="Who asks for it: you; only an administrator may name somebody else, and is recorded as the actor."
    )


class SentCard(Sent):
    """What people say about a model, or about a version of it; `card` is Markdown, as text."""

    id: UUID
    model: str
    version: int | None
    revision: int = Field(description="How many cards were written about the same, this one included; its ETag.")
    description: str
    tags: dict[str, str]
    card: str
    written_by: str
    created_at: datetime


def sent_card(card: Card) -> SentCard:
    """Return a card as it is sent."""
    return SentCard.model_construct(**{name: getattr(card, name) for name in SentCard.model_fields})


_A_LEASE = "0ZpF7pQmB3mX2q9l5J8wXr1d6cVtKJ4yZbHn0sAeUuE"
LeaseToken = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", description="The token of the lease, as the claim told it.", examples=[_A_LEASE])
]
LeaseSeconds = Annotated[float, Field(ge=1, le=3600, description="How long the lease holds without a heartbeat.")]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]+$", max_length=2000)]
Metric = Annotated[float, Strict(), Field(allow_inf_nan=False)]
MetricName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
Package = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}==[^\s\x00-\x1f\x7f]{1,100}$")]


class ClaimJob(Record):
    """Ask for the oldest job that waits, to run it under a lease."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"models": ["rainfall"], "leaseSeconds": 120}, {}]})

    models: tuple[Name, ...] = Field(default=(), max_length=64, description="Only jobs of these models, if any are named.")
    lease_seconds: LeaseSeconds | None = None


class Heartbeat(Record):
    """Say that the job is still being run."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"leaseToken": _A_LEASE}]})

    lease_token: LeaseToken
    lease_seconds: LeaseSeconds | None = None


class ReleaseJob(Record):
    """Give a job back; somebody else may run it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"leaseToken": _A_LEASE}]})

    lease_token: LeaseToken


class FailJob(Record):
    """Say that the training ran and failed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"leaseToken": _A_LEASE, "error": "The data has no rows.", "exitCode": 1}]})

    lease_token: LeaseToken
    error: Text = Field(description="Why, in a sentence.")
    exit_code: int | None = Field(default=None, ge=0, le=255, description="What the training's process ended with.")


class DeclaredEnvironment(Record):
    """What a training ran with, as its executor says; nobody here has seen it."""

    implementation: Text = Field(max_length=100, description="Such as `CPython`.")
    interpreter: Text = Field(max_length=100, description="Its version.")
    platform: Text = Field(max_length=200, description="Such as `Linux-x86_64-glibc-2.36`.")
    packages: tuple[Package, ...] = Field(default=(), max_length=2000, description="What was installed, each `NAME==VERSION`.")


class CompleteJob(Record):
    """Say what a training made; its bytes are read and hashed before anything is recorded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "leaseToken": _A_LEASE,
                    "artifactUri": "s3://models/elsewhere/rainfall.model",
                    "checksum": "9f" * 32,
                    "metrics": {"quality": 0.93},
                    "commit": "3f1c9a0de5a7c2b1f0e9d8c7b6a5948372615040",
                }
            ]
        }
    )

    lease_token: LeaseToken
    artifact_uri: Location = Field(max_length=2048, description="Where the bytes are, under a root this service may read.")
    checksum: Sha256 = Field(description="Their digest, in hex.")
    metrics: dict[MetricName, Metric] = Field(default_factory=dict, max_length=256, description="How it scored.")
    exit_code: int = Field(default=0, ge=0, le=255, description="What the training's process ended with.")
    environment: DeclaredEnvironment | None = None
    commit: str | None = Field(default=None, pattern="^[0-9a-f]{40}$", description="What was checked out; it must be the job's commit.")


class SentLease(Sent):
    """A lease; a heartbeat is due every `heartbeat_seconds`."""

    token: str | None = Field(default=None, repr=False, description="Told once, with the claim; keep it secret.")
    expires_at: datetime
    heartbeat_seconds: float


class SentClaim(Sent):
    """A job to run now, and the lease it is run under."""

    job: SentJob
    lease: SentLease


class SentOutcome(Sent):
    """A completed job, and the version that was registered of what it made."""

    job: SentJob
    artifact: SentArtifact


class SentJobDetails(SentJob):
    """A training job and who runs it."""

    attempts: int = Field(description="How often it was begun, and not given back in good order.")
    holder: str | None = Field(description="Who runs it under a lease, if somebody does.")
    lease_expires_at: datetime | None
    flow_run_url: str | None = Field(description="Where its Prefect run is shown.")


def sent_job_details(job: TrainingJob, lease: Lease | None, flow_run_url: str | None) -> SentJobDetails:
    """Return a job as it is sent, with who runs it."""
    return SentJobDetails.model_construct(
        **dict(sent_job(job, lease.flow_run_id if lease else None)),
        attempts=lease.attempts if lease else 0,
        holder=lease.holder if lease else None,
        lease_expires_at=lease.expires_at if lease else None,
        flow_run_url=flow_run_url,
    )


class SentHealth(Sent):
    """That the service is alive."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok"]


class SentReadiness(Sent):
    """Whether every part the service needs is there: `ok`, or in a few words that it is not."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "ok", "parts": {"database": "ok", "migrations": "ok", "signer": "ok", "store": "ok"}}],
        }
    )

    status: Literal["ok", "unavailable"]
    parts: dict[str, str]
