"""What was found in an artifact, as it is sent."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from aiinfra_core.domain.scan import Scan
from aiinfra_core.wire.records import Sent


class SentFinding(Sent):
    """What one file of an artifact is, and what was found in it."""

    file: str = Field(description="Its path in the artifact; empty where the artifact is one file.")
    format: str
    verdict: str
    imports: tuple[str, ...]
    detail: str | None


class SentScan(Sent):
    """Whether loading an artifact would run code; `attestation` is the digest of the signed statement of it."""

    id: UUID
    artifact_id: UUID
    scanner: str
    verdict: str = Field(
        description="`no_code`: its formats cannot hold any; `safe`: only what is known to do no harm; `suspicious`: code nobody knows; "
        "`unsafe`: code that does harm; `unknown`: nobody could tell. The worst of its files."
    )
    findings: tuple[SentFinding, ...] = Field(description="The worst first, 500 at most; the last one counts those that are left out.")
    attestation: str | None
    scanned_by: str
    created_at: datetime


def sent_scan(scan: Scan) -> SentScan:
    """Return a scan as it is sent."""
    return SentScan(**scan.model_dump(mode="json"))
