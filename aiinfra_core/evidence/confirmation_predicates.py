"""The shapes of what is claimed about what was stated before: reproduction, scan, approval, withdrawal, export, import, tombstone.

Those of a model's own way are in `predicates`, which also says which type has which shape. Building lives in `confirmations` and `custody`.
"""

from typing import Literal

from pydantic import Field, StrictInt

from aiinfra_core.domain.record import Sha256
from aiinfra_core.evidence.predicate_parts import Own, Timestamp

ReproductionOutcome = Literal["identical", "within_tolerance", "different", "failed"]
ScanVerdict = Literal["no_code", "safe", "suspicious", "unsafe", "unknown"]
ImportedKind = Literal["job", "artifact", "promotion"]


class Reproduction(Own):
    """What came out when a training was run again from its provenance; `report_digest` is of the comparison file by file."""

    artifact_id: str
    model: str
    training_attestation: Sha256
    outcome: ReproductionOutcome
    reproduced_checksum: Sha256 | None
    report_digest: Sha256
    reproduced_by: str
    started_on: Timestamp
    finished_on: Timestamp


class Scan(Own):
    """Whether loading these bytes would run code that somebody put into them; `findings_digest` is of what was found file by file."""

    artifact_id: str
    model: str
    scanner: str
    verdict: ScanVerdict
    findings_digest: Sha256
    scanned_by: str
    scanned_at: Timestamp


class Approval(Own):
    """Somebody agrees to one exact promotion manifest; which roles they have says the trust root, not they."""

    promotion_id: str
    model: str
    environment: str
    manifest: Sha256
    approver: str
    approved_at: Timestamp
    expires_at: Timestamp


class VouchedApproval(Approval):
    """An approval in the name of somebody who has no key here: who signs says that `issuer` named them, and which roles they had then."""

    roles: tuple[str, ...]
    issuer: str


class Withdrawal(Own):
    """Somebody takes back the approval they gave; `approval` is the digest of that statement."""

    approval: Sha256
    promotion_id: str
    model: str
    environment: str
    manifest: Sha256
    withdrawn_by: str
    withdrawn_at: Timestamp


class VouchedWithdrawal(Withdrawal):
    """The same in the name of somebody who has no key here, as `issuer` named them to who signs."""

    issuer: str


class CurrentPromotion(Own):
    """What an environment points to."""

    sequence: StrictInt = Field(ge=1, lt=2**53)
    manifest: Sha256


class LogHead(Own):
    """The checkpoint an export leads to; `root` is hex."""

    origin: str
    size: StrictInt = Field(ge=1, lt=2**53)
    root: Sha256


class Export(Own):
    """What was exported, when, and the log's head then; `files` is the SHA-256 of the export's list of files.

    `current` says what the environment pointed to at that head; it and `environment` are null in an export about no environment.
    """

    artifact_id: str
    model: str
    version: StrictInt = Field(ge=1, lt=2**53)
    environment: str | None
    current: CurrentPromotion | None
    head: LogHead
    files: Sha256
    exported_by: str
    exported_at: Timestamp


class Import(Own):
    """What another service said about a job, an artifact or a promotion; it says nothing about whether that is true.

    The subject is not an artifact but the record as it came. `artifact_id` is what was registered of it, because its bytes were read here.
    """

    source: str
    kind: ImportedKind
    original_id: str
    artifact_id: str | None
    outcome: str
    imported_by: str
    imported_at: Timestamp


class RetentionRule(Own):
    """What was kept when bytes were removed: younger ones, the newest versions, and the last that were current in each environment."""

    older_than_days: StrictInt = Field(ge=0, lt=2**31)
    keep_last: StrictInt = Field(ge=0, lt=2**31)
    rollback_targets: StrictInt = Field(ge=1, lt=2**31)


class Tombstone(Own):
    """These bytes were removed on purpose, under a rule; what is recorded about the artifact stays."""

    artifact_id: str
    model: str
    version: StrictInt = Field(ge=1, lt=2**53)
    artifact_uri: str
    reason: str
    rule: RetentionRule
    pruned_by: str
    pruned_at: Timestamp
