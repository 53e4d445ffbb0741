"""Reproductions: a training run again from its recorded provenance, and how what came out compares."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from aiinfra_core.domain.record import Actor, Record, Sha256


class Outcome(StrEnum):
    """Every byte is the same; files differ but each metric is within what was declared to be close enough; they differ; nothing came out."""

    IDENTICAL = "identical"
    WITHIN_TOLERANCE = "within_tolerance"
    DIFFERENT = "different"
    FAILED = "failed"


class Reproduction(Record):
    """One reproduction of an artifact, kept with its signed statement; `report` is the comparison file by file, with likely causes."""

    id: UUID
    artifact_id: UUID
    request_id: str
    outcome: Outcome
    reproduced_checksum: Sha256 | None
    report: dict[str, Any]
    attestation: Sha256 | None
    reproduced_by: Actor
    started_at: datetime
    finished_at: datetime
    created_at: datetime
