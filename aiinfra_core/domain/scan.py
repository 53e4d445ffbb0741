"""Scans: whether loading an artifact would run code that somebody put into it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from aiinfra_core.domain.record import Actor, Record, Sha256


class Verdict(StrEnum):
    """Its formats cannot hold code; only harmless code; code nobody knows; code that does harm; nobody could tell."""

    NO_CODE = "no_code"
    SAFE = "safe"
    SUSPICIOUS = "suspicious"
    UNSAFE = "unsafe"
    UNKNOWN = "unknown"


HARMLESS = (Verdict.NO_CODE, Verdict.SAFE)
"""What nobody has to be warned of."""

IN_WORDS = {
    Verdict.NO_CODE: "its formats cannot hold code",
    Verdict.SAFE: "it holds only what is known to do no harm",
    Verdict.SUSPICIOUS: "loading it runs code that nobody knows here",
    Verdict.UNSAFE: "loading it runs code that does harm",
    Verdict.UNKNOWN: "nobody could tell what loading it does",
}


class Finding(Record):
    """What one file of an artifact is, and what was found in it; `file` is its path in the artifact, empty where that is one file."""

    file: str
    format: str
    verdict: Verdict
    imports: tuple[str, ...] = ()
    detail: str | None = None


class Scan(Record):
    """What was found in an artifact, kept with its signed statement; the verdict is the worst of its files."""

    id: UUID
    artifact_id: UUID
    scanner: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    attestation: Sha256 | None
    scanned_by: Actor
    created_at: datetime
