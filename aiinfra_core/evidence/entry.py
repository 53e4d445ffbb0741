"""Entries of the log: every column of an event row as the bytes the Merkle tree hashes and an export carries, and what must hold in one.

How one event follows another lives in `chain`; where rows and trees are kept, in `audit_log`.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from json.encoder import encode_basestring
from operator import itemgetter
from typing import Any
from uuid import UUID

from aiinfra_core import canonical_json
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence.chain import Head, follow
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.signing.public_key import PublicKey

COLUMNS = ("created_at", "event_type", "hash", "id", "metadata", "payload", "prev_hash", "seq", "signature", "signer_id", "ts", "version")
_columns = itemgetter(*COLUMNS)
_MOST = 2**53


def leaf(row: Mapping[str, Any]) -> bytes:
    """Return the entry of an `audit_events` row: RFC 8785 JSON of all its columns, `payload` and `metadata` as their exact text.

    Raises:
        EvidenceBroken: at `entry`; a column holds what no event has.
    """
    created_at, event_type, digest, id_, metadata, payload, prev_hash, seq, signature, signer_id, ts, version = _columns(row)
    text = encode_basestring  # as canonical_json.dumps writes text; by hand because an audit writes millions
    try:
        time = timestamp(ts)
        return (
            f'{{"created_at":"{time if created_at == ts else timestamp(created_at)}","event_type":{text(event_type)},"hash":{text(digest)},'
            f'"id":"{UUID.__str__(id_)}","metadata":{text(metadata)},"payload":{text(payload)},'
            f'"prev_hash":{"null" if prev_hash is None else text(prev_hash)},"seq":{_whole(seq)},"signature":{text(signature)},'
            f'"signer_id":{text(signer_id)},"ts":"{time}","version":{_whole(version)}}}'
        ).encode()
    except (AttributeError, BadInput, OverflowError, TypeError, ValueError) as error:
        raise EvidenceBroken("entry", f"the row at seq {seq!s:.20} holds what no event has ({type(error).__name__}).") from None


def read_leaf(data: bytes) -> dict[str, Any]:
    """Return the row that an entry holds, in the types of the table; only the bytes that `leaf` writes for it are taken.

    Raises:
        EvidenceBroken: at `entry`.
    """
    try:
        value = canonical_json.loads(data, what="The entry")
        if not isinstance(value, dict) or tuple(sorted(value)) != COLUMNS:
            raise EvidenceBroken("entry", "it must have the columns of an event, each and no other.")
        row = value | {"id": UUID(value["id"])} | {name: datetime.fromisoformat(value[name]) for name in ("created_at", "ts")}
        written = leaf(row)
    except (AttributeError, BadInput, TypeError, ValueError) as error:
        raise EvidenceBroken("entry", f"it is no event ({type(error).__name__}).") from None
    if written != data:
        raise EvidenceBroken("entry", "it is not written the one way an event is.")
    return row


def check(row: Mapping[str, Any]) -> None:
    """Check every column that follows from the payload and the hash before it; `created_at` may be later than `ts`, never earlier.

    Raises:
        EvidenceBroken: at `entry`, naming the columns.
    """
    if row["seq"] < 1 or (row["prev_hash"] is None) != (row["seq"] == 1):
        raise EvidenceBroken("entry", f"seq {row['seq']} and prev_hash do not belong together; the first entry alone follows none.")
    try:
        expected = follow(Head(row["seq"] - 1, row["prev_hash"], None), row["payload"])
        changed = [name for name, value in expected.items() if name != "created_at" and row[name] != value]
        if row["created_at"] < expected["ts"]:
            changed.append("created_at")
    except (AttributeError, BadInput, KeyError, TypeError, ValueError):
        raise EvidenceBroken("entry", f"the payload or prev_hash of seq {row['seq']} is not an event's.") from None
    if changed:
        raise EvidenceBroken("entry", f"{', '.join(changed)} of seq {row['seq']} does not follow from its payload and the hash before it.")


def check_signature(row: Mapping[str, Any], keys: Mapping[str, PublicKey]) -> str:
    """Return the keyid of the key, out of keyid -> key, that signed the row's hash. Whether it bears `signer_id` is the caller's to ask.

    Raises:
        EvidenceBroken: at `entry signature`; none did, or the signature is not in its one spelling.
    """
    try:
        message, signature = bytes.fromhex(row["hash"]), base64.b64decode(row["signature"], validate=True)
    except (binascii.Error, TypeError, ValueError):
        message, signature = b"", b""
    if base64.b64encode(signature).decode() == row["signature"]:
        for keyid, key in keys.items():
            try:
                key.verify(message, signature)
            except EvidenceBroken:
                continue
            return keyid
    raise EvidenceBroken("entry signature", f"that of seq {row['seq']}, by {row['signer_id']}, verifies with no trusted key.")


def _whole(number: int) -> int:
    if type(number) is int and -_MOST < number < _MOST:
        return number
    raise TypeError("not a whole number that JSON can hold")
