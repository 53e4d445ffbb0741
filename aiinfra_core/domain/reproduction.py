"""Reproductions: a training run again from its recorded provenance, and how what came out compares."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from aiinfra_core.domain.record import Actor, Record, RequestId, Sha256

Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Outcome(StrEnum):
    """Every byte is the same; bytes differ but each metric is as close as was declared to be enough; they differ; nothing came out."""

    IDENTICAL = "identical"
    WITHIN_TOLERANCE = "within_tolerance"
    DIFFERENT = "different"
    FAILED = "failed"


class ReproductionRequest(Record):
    """Ask for an artifact's training to be run again.

    With tolerances, a model of other bytes is close enough if each metric differs by at most its tolerance; one without a tolerance must
    be the same.
    """

    artifact: str = Field(description="`MODEL`, `MODEL:VERSION`, `MODEL@ENVIRONMENT` or an artifact's id.")
    tolerances: dict[str, Tolerance] = Field(default_factory=dict, description="Metric -> how far it may be from the recorded one.")
    reproduced_by: Actor = Field(description="Who runs it.")
    request_id: RequestId | None = Field(default=None, description="Your own name for this request; the same one is done once.")


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
