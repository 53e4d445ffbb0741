"""What a training is asked for, and what is known about it afterwards."""

import re
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from aiinfra_core import canonical_json, checksums
from aiinfra_core.domain.record import Actor, JsonObject, Location, Name, Record, Sha256, a_location


class JobStatus(StrEnum):
    """Where a training job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


ALLOWED_MOVES: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED, JobStatus.COMPLETED, JobStatus.FAILED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
}


def _relative_script(path: str) -> str:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or not path.endswith(".py"):
        raise ValueError("must be a Python file inside the repository, such as train.py")
    return path


EntryPoint = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_./-]{1,200}$"), AfterValidator(_relative_script)]


class DatasetRef(Record):
    """One dataset, named by content: what is at `uri` must have this `sha256`."""

    name: Name = Field(description="What the training calls it.")
    uri: Location = Field(
        min_length=1, max_length=2048, description="A path in the repository, an absolute path, file://, https:// or s3://."
    )
    sha256: Sha256 = Field(description="SHA-256 of its bytes, in hex.")
    version: str = Field(default="1", max_length=128, description="Your name for this state of it.")


def _names_are_distinct(refs: tuple[DatasetRef, ...]) -> tuple[DatasetRef, ...]:
    if len({ref.name for ref in refs}) != len(refs):
        raise ValueError("names a dataset twice")
    return refs


_PINNED = r"^[^\s@]\S*@[0-9a-f]{40}$"


def _pinned(code: str) -> str:
    if not re.fullmatch(_PINNED.strip("^$"), code):
        raise PydanticCustomError("code_ref", "must be pinned to a commit: write URL@COMMIT or PATH@COMMIT with all 40 hex digits")
    return code


def _a_list(refs: Any) -> Any:
    if not isinstance(refs, (list, tuple)):
        raise PydanticCustomError("dataset_refs", "must be a list of datasets, each with name, uri and sha256")
    return refs


CodeRef = Annotated[
    str,
    Field(max_length=2048, description="Git URL or path, pinned to a commit: `URL@COMMIT`.", json_schema_extra={"pattern": _PINNED}),
    AfterValidator(_pinned),
    AfterValidator(a_location),
]
ContainerDigest = Annotated[
    str, Field(pattern=r"^sha256:[0-9a-f]{64}$", description="Container the training is declared to run in, `sha256:HEX`.")
]
DatasetRefs = Annotated[
    tuple[DatasetRef, ...],
    Field(max_length=256, description="What it learns from, each named by content."),
    BeforeValidator(_a_list),
    AfterValidator(_names_are_distinct),
]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="Where all randomness starts.")]


class TrainingSpec(Record):
    """Everything a training may depend on; the same spec gives the same bytes.

    `code_ref` is a git URL or path pinned to a commit (`PATH@<40 hex>`). With an `entry_point` the job runs that script in a
    process of its own; without one the artifact is derived from the declared inputs alone.
    """

    model: Name = Field(description="Name of the model.")
    code_ref: CodeRef
    container_digest: ContainerDigest
    entry_point: EntryPoint | None = Field(default=None, description="Script to run; without one the inputs alone make the artifact.")
    hyperparams: JsonObject = Field(default_factory=dict, description="What the training is told, as a JSON object.")
    dataset_refs: DatasetRefs = ()
    seed: Seed

    def digest(self) -> str:
        """Return the hex SHA-256 of the spec's canonical JSON: the identity of this training."""
        return checksums.sha256_hex(canonical_json.dumps(self.model_dump(mode="json", by_alias=True)))


class TrainingJob(Record):
    """One asked-for training and its outcome; fields after `updated_at` are empty until it has run."""

    id: UUID
    request_id: str
    spec: TrainingSpec
    requested_by: Actor
    status: JobStatus
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    error: str | None = None
    artifact_uri: str | None = None
    digest_kind: str | None = None
    checksum: Sha256 | None = None
    size_bytes: int | None = None
    metrics: dict[str, Any] | None = None
    training_record_sha256: Sha256 | None = None
    training_record_uri: str | None = None
    log_uri: str | None = None
    attestation: Sha256 | None = None


class Lease(Record):
    """Who runs a job now; without a holder nobody does under a lease. `attempts` counts how often it was begun and not given back."""

    job_id: UUID
    attempts: int
    holder: Actor | None
    expires_at: datetime | None
    flow_run_id: UUID | None
    updated_at: datetime
