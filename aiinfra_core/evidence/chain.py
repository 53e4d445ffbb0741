"""How one event follows another: pure functions over payload text, used by the sequencer and by the check.

Every column of an event row follows from the payload and the event before it, so the hash chain protects all of them:
`hash` = hex SHA-256(payload ‖ 32 bytes of the previous hash), `id` = UUIDv5 of the hash, `ts` = the payload's time,
`created_at` = max(ts, previous + 1 µs), `metadata` = {}, `version` = 1; `signature` is Ed25519 over the 32 bytes of `hash`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5

from aiinfra_core import canonical_json

VERSION = 1
NAMESPACE = UUID("6f0f3d5c-6a0e-5b0d-9d8e-0a7c4f0e2b11")


@dataclass(frozen=True)
class Head:
    """The last event of the chain; `seq` 0 and no hash before the first one."""

    seq: int = 0
    hash: str | None = None
    created_at: datetime | None = None


def follow(head: Head, payload: str) -> dict[str, Any]:
    """Return the event row (without signature and signer) that a payload becomes after `head`."""
    event = canonical_json.loads(payload, what="An audit payload")
    digest = sha256(payload.encode() + bytes.fromhex(head.hash or "")).hexdigest()
    moment = datetime.fromisoformat(event["time"])
    return {
        "seq": head.seq + 1,
        "id": uuid5(NAMESPACE, digest),
        "event_type": event["type"],
        "payload": payload,
        "prev_hash": head.hash,
        "hash": digest,
        "ts": moment,
        "created_at": moment if head.created_at is None else max(moment, head.created_at + timedelta(microseconds=1)),
        "metadata": "{}",
        "version": VERSION,
    }


def head_after(row: Mapping[str, Any]) -> Head:
    """Return the head of a chain that ends with this event row."""
    return Head(row["seq"], row["hash"], row["created_at"])
