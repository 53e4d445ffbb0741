"""People's notifications: one webhook that is told of what they wait for, out of the log like every other sink.

The signatures are those of Standard Webhooks, the body is small and holds no evidence: whoever wants to be sure follows its link. Where the
address may lead is in `guarded`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from standardwebhooks import Webhook

from aiinfra_core import canonical_json, checksums, outbound
from aiinfra_core.audit_log.checking.check import History
from aiinfra_core.audit_log.delivering import guarded
from aiinfra_core.audit_log.delivering.sinks import LATER, Row, Sink, Take, of_webhook
from aiinfra_core.errors import BadInput, Misconfigured, Unavailable
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.outbound import Patience
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
    "rollback.*",
    "drift.*",
    "audit.failed",
)
"""What is told where AI_INFRA_NOTIFY_EVENTS says nothing."""
STALE = timedelta(days=1)
"""What is older than this is passed by: who configures a webhook today does not want last year's promotions."""
_PART = "audit_sink"
_PATIENCE = Patience(timeout_seconds=10.0, attempts=1)
_MOST_REPLY_BYTES = 64 * 1024
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
                yield None if told is None else _post(settings, sink, str(row["id"]), told)

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
    refusal = _post(settings, sink, message_id, body)
    if refusal is not None:
        raise Unavailable(_PART, refusal)


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
    return told


def _post(settings: Settings, sink: Sink, message_id: str, told: Mapping[str, Any]) -> str | None:
    body, parts, now = canonical_json.dumps(told), urlsplit(sink.address), datetime.now(UTC)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": _signer(settings).sign(message_id, now, body.decode()),
    }
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    address = guarded.address_of(_PART, host, port, settings.notify_networks, _PATIENCE.timeout_seconds)
    reply = outbound.post(_PART, sink.address, body, headers=headers, patience=_PATIENCE, max_bytes=_MOST_REPLY_BYTES, connect_to=address)
    if 200 <= reply.status < 300:
        return None
    if 400 <= reply.status < 500 and reply.status not in LATER:
        return f"{sink.name} answered HTTP {reply.status}."
    raise Unavailable(_PART, f"{sink.name} answered HTTP {reply.status}, and redirects are not followed; check AI_INFRA_NOTIFY_URL.")


def _signer(settings: Settings) -> Webhook:
    if settings.notify_secret is None:
        raise Misconfigured("AI_INFRA_NOTIFY_URL needs AI_INFRA_NOTIFY_SECRET, which whoever receives it knows, too.")
    return Webhook(settings.notify_secret.get_secret_value())


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
