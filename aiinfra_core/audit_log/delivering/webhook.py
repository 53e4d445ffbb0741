"""People's notifications: one webhook that is told of what they wait for, out of the log like every other sink.

The body is small and holds no evidence: whoever wants to be sure follows its link. How it is signed and sent is in `signed_post`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from aiinfra_core import canonical_json, checksums
from aiinfra_core.audit_log.checking.check import History
from aiinfra_core.audit_log.delivering.signed_post import PART, Door, post
from aiinfra_core.audit_log.delivering.sinks import Row, Sink, Take, of_webhook
from aiinfra_core.errors import BadInput, Misconfigured, Unavailable
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.settings import Settings

logger = logging.getLogger(__name__)

TOLD = (
    "promotion.pending",
    "promotion.applied",
    "promotion.rejected",
    "promotion.quarantined",
    "promotion.remediation",
    "promotion.expired",
    "promotion.superseded",
    "rollout.started",
    "rollout.advanced",
    "rollout.completed",
    "rollout.paused",
    "rollout.resumed",
    "rollout.aborted",
    "rollout.ended",
    "rollout.superseded",
    "rollback.*",
    "drift.*",
    "audit.failed",
)
"""What is told where AI_INFRA_NOTIFY_EVENTS says nothing."""
STALE = timedelta(days=1)
"""What is older than this is passed by: who configures a webhook today does not want last year's promotions."""
_PROMOTION = {
    "id": "promotionId",
    "model": "model",
    "environment": "environment",
    "artifact_id": "artifactId",
    "requested_by": "requestedBy",
    "reason": "reason",
    "manifest": "manifest",
    "pending_until": "pendingUntil",
}


def to(settings: Settings, sink: Sink) -> Take:
    """Return what tells the webhook of events that are wanted, each only after the one before it was taken; the others are passed by."""

    def take(rows: Sequence[Row]) -> Iterator[str | None]:
        for row in rows:
            try:
                told = _told(settings, row)
            except (BadInput, KeyError, TypeError) as error:
                yield f"Nobody could be told of the event: {error}"
            else:
                yield None if told is None else post(_door(settings, sink), str(row["id"]), told)

    return take


def tell(settings: Settings, sink: Sink, message_id: str, kind: str, data: Mapping[str, Any]) -> None:
    """Tell the webhook of something that stands in no log, if it is wanted.

    Args:
        settings: say what is wanted.
        sink: the webhook.
        message_id: the same for the same matter: whoever receives it twice knows.
        kind: such as `audit.failed`.
        data: what is told.

    Raises:
        Unavailable: it was not taken.
    """
    if not _wanted(settings, kind):
        return
    body = {"type": kind, "timestamp": timestamp(datetime.now(UTC)), "data": dict(data)}
    refusal = post(_door(settings, sink), message_id, body)
    if refusal is not None:
        raise Unavailable(PART, refusal)


def _told(settings: Settings, row: Row) -> dict[str, Any] | None:
    """Return what is told of an event, None where nothing is."""
    if datetime.now(UTC) - row["ts"] > STALE:
        return None
    payload = canonical_json.loads(row["payload"], what="The payload")
    promotion = payload["rows"].get("model_promotions")
    kind = _kind(str(row["event_type"]), promotion)
    if not _wanted(settings, kind) or (kind == "promotion.pending" and promotion and promotion.get("approvals_required") == "{}"):
        return None  # nobody has to agree: it is only judged once more
    data = {"subject": payload["subject"], "actor": payload["actor"], "seq": row["seq"]}
    if promotion is not None:
        data |= _of_promotion(settings, promotion)
    if "rollouts" in payload["rows"]:
        data |= _of_rollout(settings, payload["rows"])
    return {"type": kind, "timestamp": payload["time"], "data": data}


def _kind(event_type: str, promotion: Mapping[str, Any] | None) -> str:
    """Return how an event is called: a no by what became of the promotion."""
    return f"promotion.{promotion['status']}" if event_type == "promotion.rejected" and promotion else event_type


def _wanted(settings: Settings, kind: str) -> bool:
    return any(fnmatchcase(kind, pattern) for pattern in settings.notify_events or TOLD)


def _of_promotion(settings: Settings, row: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: row.get(column) for column, name in _PROMOTION.items() if isinstance(row.get(column), str)}
    if isinstance(row.get("approvals_required"), str):
        told["approvalsRequired"] = canonical_json.loads(row["approvals_required"])
    if settings.public_url is not None:
        told["link"] = f"{settings.public_url.rstrip('/')}/ai-infra/promotions/{row['id']}/page"
    if isinstance(row.get("rollback"), str):
        told["rollback"] = canonical_json.loads(row["rollback"])
    return told


def _of_rollout(settings: Settings, rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is told of a rollout: where it stands, the challenger's share in per cent, and why."""
    row = rows["rollouts"]
    reasons = (rows.get(table, {}).get("reason") for table in ("rollouts", "rollout_orders", "canary_looks"))
    told = {"rolloutId": row["id"], "model": row["model"], "environment": row["environment"], "promotionId": row["promotion_id"]}
    told |= {"rolloutStatus": row["status"], "step": row["step"], "percent": row["weight"] / 100}
    if reason := next(filter(None, reasons), None):
        told["reason"] = reason
    if settings.public_url is not None:
        told["link"] = f"{settings.public_url.rstrip('/')}/ai-infra/rollouts/{row['id']}/page"
    return told


def _door(settings: Settings, sink: Sink) -> Door:
    return Door(sink, settings.notify_secret, settings.notify_networks, "AI_INFRA_NOTIFY")


def audit_failed(settings: Settings, history: History) -> None:
    """Tell people that the history does not verify, where it does not; that they could not be told is logged and hides nothing.

    It is told directly: the log whose end would have to say so is the one that is broken.
    """
    sink = of_webhook(settings)
    if sink is None or not history.broken:
        return
    first = history.findings[0]
    data = {"findings": history.broken, "events": history.events, "place": first.place, "problem": first.problem}
    message_id = checksums.sha256_hex(canonical_json.dumps({"log": settings.log_origin, **data}))
    try:
        tell(settings, sink, f"audit-{message_id[:32]}", "audit.failed", data)
    except (Unavailable, Misconfigured) as error:
        logger.error("Nobody could be told that the history does not verify: %s", error)  # noqa: TRY400 - the message says it all
