"""Events as CloudEvents 1.0 in structured JSON, and the HTTP sink that takes them one by one."""

import logging
from collections.abc import Iterator, Mapping, Sequence

from aiinfra_core import canonical_json, outbound
from aiinfra_core.audit_log.delivering.sinks import LATER, Row, Sink, Take
from aiinfra_core.errors import BadInput, EvidenceBroken, Unavailable
from aiinfra_core.evidence import entry
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.outbound import Patience
from aiinfra_core.settings import Settings

# httpx tells every whole address at INFO, and the path of a webhook is often its secret.
logging.getLogger("httpx").setLevel(logging.WARNING)

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
TYPE_PREFIX = "ai-infra."
_PART = "audit_sink"
_PATIENCE = Patience(timeout_seconds=10.0, attempts=1)
_MOST_REPLY_BYTES = 64 * 1024


def cloud_event(origin: str, row: Row) -> bytes:
    """Return an event as CloudEvents structured JSON; the bytes of its `data` are exactly the event's entry.

    Raises:
        EvidenceBroken: the row holds what no event has.
    """
    data = canonical_json.loads(entry.leaf(row), what="The entry")
    payload = canonical_json.loads(row["payload"], what="The payload")
    return canonical_json.dumps(
        {
            "specversion": "1.0",
            "id": str(row["id"]),
            "source": origin,
            "type": TYPE_PREFIX + row["event_type"],
            "subject": payload["subject"],
            "time": timestamp(row["ts"]),
            "sequence": f"{row['seq']:020d}",
            "datacontenttype": "application/json",
            "data": data,
        }
    )


def to(settings: Settings, sink: Sink) -> Take:
    """Return what delivers events to an HTTP sink, each only after the one before it was taken."""
    headers = {"Content-Type": CONTENT_TYPE}
    if settings.audit_sink_token is not None:
        headers["Authorization"] = f"Bearer {settings.audit_sink_token.get_secret_value()}"

    def take(rows: Sequence[Row]) -> Iterator[str | None]:
        for row in rows:
            yield _post(sink, settings.log_origin, headers, row)

    return take


def _post(sink: Sink, origin: str, headers: Mapping[str, str], row: Row) -> str | None:
    try:
        body = cloud_event(origin, row)
    except (BadInput, EvidenceBroken, KeyError, TypeError) as error:
        return f"The event cannot be written: {error}"
    reply = outbound.post(_PART, sink.address, body, headers=headers, patience=_PATIENCE, max_bytes=_MOST_REPLY_BYTES)
    if 200 <= reply.status < 300:
        return None
    if 400 <= reply.status < 500 and reply.status not in LATER:
        return f"{sink.name} answered HTTP {reply.status}."
    raise Unavailable(_PART, f"{sink.name} answered HTTP {reply.status}; check its address and AI_INFRA_AUDIT_SINK_TOKEN.")
