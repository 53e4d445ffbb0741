"""What an executor of jobs says and hears: claims, leases, outcomes."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field, Strict

from aiinfra_core.domain.record import Location, Name, Record, Sha256
from aiinfra_core.domain.training import Lease, TrainingJob
from aiinfra_core.wire.records import Sent, SentArtifact, SentJob, sent_job

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
