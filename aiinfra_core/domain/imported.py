"""What a service that this one replaces said about its jobs, artifacts and promotions."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from aiinfra_core.domain.record import Actor, Record, Sha256


class Kind(StrEnum):
    """What a record is about."""

    JOB = "job"
    ARTIFACT = "artifact"
    PROMOTION = "promotion"


class Imported(Record):
    """A record as it came (`document`, JSON), what became of it, and what was registered of it, if its bytes were read."""

    id: UUID
    source: str
    kind: Kind
    original_id: str
    document: str
    artifact_id: UUID | None
    outcome: str
    attestation: Sha256 | None
    imported_by: Actor
    created_at: datetime
