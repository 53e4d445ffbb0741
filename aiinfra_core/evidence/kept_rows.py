"""What the row that is kept with a signed statement has to say, column by column: pure, for whoever checks rows, here or in an export."""

from collections.abc import Mapping
from typing import Any

from aiinfra_core import canonical_json
from aiinfra_core.checksums import sha256_hex
from aiinfra_core.evidence.confirmation_predicates import Approval, Reproduction, Scan, VouchedApproval, Withdrawal
from aiinfra_core.evidence.predicates import Predicate
from aiinfra_core.evidence.rollout_predicates import RolloutOrder


def differences(row: Mapping[str, Any], predicate: Predicate) -> list[str]:
    """Return the columns of a row, as an event tells of it, that say otherwise than the statement it is kept with."""
    texts = _texts(predicate)
    other = [name for name, value in _columns(predicate).items() if row.get(name) != value]
    return other + [name for name, digest in texts.items() if text_digest(row.get(name)) != digest]


def text_digest(value: Any) -> str | None:
    """Return the hex SHA-256 of a text column as a row holds it: whole, or, over 4 KB, by digest."""
    if isinstance(value, dict):
        return value.get("sha256") if isinstance(value.get("sha256"), str) else None
    return sha256_hex(value.encode()) if isinstance(value, str) else None


def _columns(predicate: Predicate) -> dict[str, Any]:
    match predicate:
        case Approval():
            return {
                "promotion_id": predicate.promotion_id,
                "manifest": predicate.manifest,
                "approver": predicate.approver,
                "means": "identity" if isinstance(predicate, VouchedApproval) else "key",
                "expires_at": predicate.expires_at,
                "created_at": predicate.approved_at,
            }
        case Withdrawal():
            return {"withdrawn_by": predicate.withdrawn_by, "created_at": predicate.withdrawn_at}
        case Scan():
            said = {name: getattr(predicate, name) for name in ("artifact_id", "scanner", "verdict", "scanned_by")}
            return said | {"created_at": predicate.scanned_at}
        case Reproduction():
            said = {name: getattr(predicate, name) for name in ("artifact_id", "outcome", "reproduced_checksum", "reproduced_by")}
            return said | {"started_at": predicate.started_on, "finished_at": predicate.finished_on}
        case RolloutOrder():
            said = {name: getattr(predicate, name) for name in ("rollout_id", "action", "step", "ordered_by")}
            return said | {"created_at": predicate.ordered_at}
    return {}


def _texts(predicate: Predicate) -> dict[str, str]:
    """Return column -> hex SHA-256 of its text."""
    match predicate:
        case VouchedApproval():
            return {"roles": sha256_hex(canonical_json.dumps(list(predicate.roles)))}
        case Scan():
            return {"findings": predicate.findings_digest}
        case Reproduction():
            return {"report": predicate.report_digest}
        case RolloutOrder():
            return {"reason": predicate.reason_digest}
    return {}
