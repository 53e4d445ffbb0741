"""What is sent to a webhook: signed as Standard Webhooks says, to an address that was looked at. What it says is its sender's business."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from standardwebhooks import Webhook

from aiinfra_core import canonical_json, outbound
from aiinfra_core.audit_log.delivering import guarded
from aiinfra_core.audit_log.delivering.sinks import LATER, Sink
from aiinfra_core.errors import Misconfigured, Unavailable
from aiinfra_core.outbound import Patience

PART = "audit_sink"
_PATIENCE = Patience(timeout_seconds=10.0, attempts=1)
_MOST_REPLY_BYTES = 64 * 1024


@dataclass(frozen=True)
class Door:
    """A webhook, what its messages are signed with, the networks it may lead into, and the setting that says where it is."""

    sink: Sink
    secret: SecretStr | None
    networks: tuple[IPv4Network | IPv6Network, ...]
    setting: str


def post(door: Door, message_id: str, told: Mapping[str, Any]) -> str | None:
    """Send a message and return None once it is taken, or why it will never be.

    Args:
        door: where to.
        message_id: the same for the same matter: whoever receives it twice knows.
        told: what it says.

    Raises:
        Unavailable: it may be taken later.
        Misconfigured: there is no secret.
    """
    sink = door.sink
    body, parts, now = canonical_json.dumps(told), urlsplit(sink.address), datetime.now(UTC)
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": _signer(door).sign(message_id, now, body.decode()),
    }
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    address = guarded.address_of(PART, host, port, door.networks, _PATIENCE.timeout_seconds)
    reply = outbound.post(PART, sink.address, body, headers=headers, patience=_PATIENCE, max_bytes=_MOST_REPLY_BYTES, connect_to=address)
    if 200 <= reply.status < 300:
        return None
    if 400 <= reply.status < 500 and reply.status not in LATER:
        return f"{sink.name} answered HTTP {reply.status}."
    raise Unavailable(PART, f"{sink.name} answered HTTP {reply.status}, and redirects are not followed; check {door.setting}_URL.")


def _signer(door: Door) -> Webhook:
    if door.secret is None:
        raise Misconfigured(f"{door.setting}_SECRET is not set, and nothing is told unsigned.")
    return Webhook(door.secret.get_secret_value())
