"""Walk a stretch of the log from a given tip: chain, times, signatures, leaves, and what each event tells of state rows.

Pure: rows come as text, as Postgres writes it, because an audit reads millions; the usual row is compared with the one that must follow
and only another one is looked at column by column. Where rows come from lives in `reading`, what is done with the outcome in `check`.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha1, sha256
from json.encoder import encode_basestring as _text
from typing import Any, NamedTuple, NoReturn

from aiinfra_core import canonical_json, merkle
from aiinfra_core.domain.trust import Purpose, Trust
from aiinfra_core.errors import BadInput, EvidenceBroken
from aiinfra_core.evidence import chain
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.signing import public_key
from aiinfra_core.signing.public_key import PublicKey

_NEVER = "9999-12-31T23:59:59.999999Z~"
_MISSING_FRACTION = {8: ".000000", 10: "00000", 11: "0000", 12: "000", 13: "00", 14: "0", 15: ""}
_MOST_PROBLEMS = 100

Problem = tuple[str, str]
Told = Mapping[str, Any]


class Row(NamedTuple):
    """One row of `audit_events`; times and ids as Postgres writes them in UTC, JSON as its exact text."""

    seq: int
    id: str
    event_type: str
    payload: str
    prev_hash: str | None
    hash: str
    signature: str
    signer_id: str
    ts: str
    created_at: str
    metadata: str
    version: int


class Tip(NamedTuple):
    """The last event of a chain; `created_at` as RFC 3339 with microseconds and `Z`. Before the first event all is empty."""

    seq: int = 0
    hash: str | None = None
    created_at: str = ""


class AuditKey(NamedTuple):
    """A key that may sign events created in [`since`, `until`) at an index below `bad_from`."""

    key: PublicKey
    since: str
    until: str
    bad_from: float


@dataclass
class Walked:
    """What a stretch was found to be.

    `tip` is where it ends, `leaves` the leaf hashes one after the other, `told` the last row told of each (table, key) with the event's
    seq; `problems` holds the first of what is wrong, `broken` counts all.
    """

    tip: Tip
    events: int = 0
    leaves: bytearray = field(default_factory=bytearray)
    told: dict[tuple[str, str], tuple[int, Told]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: int = 0


def audit_keys(trust: Trust) -> dict[str, list[AuditKey]]:
    """Return signer id -> the keys that may sign events under it."""
    keys: dict[str, list[AuditKey]] = {}
    for entry in trust.keys:
        if Purpose.AUDIT in entry.purposes:
            since = timestamp(entry.valid_from) if entry.valid_from else ""
            until = timestamp(entry.valid_until) if entry.valid_until else _NEVER
            bad_from = entry.compromise.bad_from_index if entry.compromise else float("inf")
            keys.setdefault(entry.signer_id, []).append(AuditKey(public_key.parse(entry.public_key), since, until, bad_from))
    return keys


def walk(tip: Tip, rows: Iterable[Row], keys: Mapping[str, list[AuditKey]], primary_keys: Mapping[str, tuple[str, ...]]) -> Walked:
    """Check that these rows follow each other after `tip`, and each is signed.

    Args:
        tip: the event before the first row.
        rows: in the order of `seq`.
        keys: from `audit_keys`.
        primary_keys: state table -> its key columns.
    """
    found = Walked(tip)
    for row in rows:
        event, moment = _follow(found.tip, row)
        created = iso(row.created_at)
        problems = list(_signature_problems(row, created, keys))
        if event is None:
            event, differing = _look_closely(found.tip, row)
            problems[:0] = differing
            entry = _odd_leaf(row)
        else:
            entry = _leaf(row, moment, created)
        found.leaves += merkle.leaf_hash(entry)
        found.events += 1
        for name, key, told in rows_told(event, primary_keys):
            found.told[name, key] = (row.seq, told)
        if problems:
            _note(found, row.seq, problems)
        found.tip = Tip(row.seq, row.hash, created)
    return found


def rows_told(event: Mapping[str, Any], primary_keys: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str, Told]]:
    """Yield table, key as text, and row, of every state row that an event tells of."""
    rows = event.get("rows")
    for name, row in rows.items() if isinstance(rows, dict) else ():
        columns = primary_keys.get(name)
        if columns is not None and isinstance(row, dict):
            yield name, "/".join([str(row.get(column)) for column in columns]), row


def readable(payload: str | None) -> dict[str, Any]:
    """Return an event by its payload; empty where it is none."""
    try:
        event = canonical_json.loads(payload or "")
    except BadInput:
        return {}
    return event if isinstance(event, dict) else {}


def iso(moment: str | None) -> str:
    """Return a time that Postgres wrote in UTC as RFC 3339 with microseconds and a `Z`; anything else as something that is no time."""
    if moment is None:
        return ""
    clock = moment[11:-3]
    return f"{moment[:10]}T{clock}{_MISSING_FRACTION.get(len(clock), '?')}Z"


def moment_of(text: str | None) -> datetime | None:
    """Return a time that Postgres wrote; None where it is none that Python knows."""
    try:
        return datetime.fromisoformat(iso(text))
    except ValueError:
        return None


def _refuse(_: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key twice")
    return fields


_decode = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse).decode


def _follow(tip: Tip, row: Row) -> tuple[dict[str, Any] | None, str]:
    """Return the event and its time if every column is, beyond doubt, what `chain.follow` gives; it alone decides about the others."""
    try:
        seq, id_, event_type, payload, prev_hash, digest, signature, signer_id, ts, created_at, metadata, version = row
        data = payload.encode()
        expected = sha256(data + bytes.fromhex(tip.hash)) if tip.hash else sha256(data)
        event = _decode(payload)
        moment = event["time"]
        if (
            seq == tip.seq + 1
            and prev_hash == tip.hash
            and digest == expected.hexdigest()
            and id_ == _uuid5(digest)
            and event_type == event["type"]
            and len(moment) == 27
            and iso(ts) == moment
            and iso(created_at) == (moment if moment > tip.created_at else _just_after(tip.created_at))
            and metadata == "{}"
            and version == chain.VERSION
            and "\\u" not in payload
            and None not in (signature, signer_id)
        ):
            return event, moment
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        pass
    return None, ""


def _look_closely(tip: Tip, row: Row) -> tuple[dict[str, Any], list[str]]:
    try:
        head = chain.Head(tip.seq, tip.hash, datetime.fromisoformat(tip.created_at) if tip.created_at else None)
        expected = chain.follow(head, row.payload)
        written = expected | {"id": str(expected["id"])} | {name: timestamp(expected[name]) for name in ("ts", "created_at")}
    except (AttributeError, BadInput, KeyError, OverflowError, TypeError, ValueError):
        return readable(row.payload), ["payload is not an event, or does not follow the one before it"]
    stands = row._asdict() | {"ts": iso(row.ts), "created_at": iso(row.created_at)}
    differing = [name for name, value in written.items() if stands[name] != value]
    if not differing:
        return readable(row.payload), []
    return readable(row.payload), [f"{', '.join(differing)} does not follow from the event before it and its payload"]


def _signature_problems(row: Row, created: str, keys: Mapping[str, list[AuditKey]]) -> Iterator[str]:
    index = row.seq - 1
    able = [key for key in keys.get(row.signer_id, ()) if key.since <= created < key.until and index < key.bad_from]
    try:
        signature, message = base64.b64decode(row.signature, validate=True), bytes.fromhex(row.hash)
    except (TypeError, ValueError):
        signature = message = b""
    for entry in able:
        try:
            entry.key.verify(message, signature)
        except EvidenceBroken:
            continue
        if base64.b64encode(signature).decode() != row.signature:
            yield "signature is spelled in an unusual way"
        return
    if able:
        yield "signature does not verify"
    elif row.signer_id in keys:
        yield f"signer_id {row.signer_id} had no trusted key at that time and place of the log"
    else:
        yield f"signer_id {row.signer_id} has no trusted key"


def _leaf(row: Row, ts: str, created: str) -> bytes:
    """Return what `entry.leaf` gives for a row whose every column was compared."""
    prev = f'"{row.prev_hash}"' if row.prev_hash else "null"
    return (
        f'{{"created_at":"{created}","event_type":{_text(row.event_type)},"hash":"{row.hash}","id":"{row.id}","metadata":"{{}}",'
        f'"payload":{_text(row.payload)},"prev_hash":{prev},"seq":{row.seq},"signature":{_text(row.signature)},'
        f'"signer_id":{_text(row.signer_id)},"ts":"{ts}","version":{row.version}}}'
    ).encode()


def _odd_leaf(row: Row) -> bytes:
    columns = row._asdict() | {"ts": iso(row.ts), "created_at": iso(row.created_at)}
    return json.dumps(columns, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _uuid5(digest: str) -> str:
    raw = bytearray(sha1(chain.NAMESPACE.bytes + digest.encode(), usedforsecurity=False).digest()[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x50, raw[8] & 0x3F | 0x80
    found = raw.hex()
    return f"{found[:8]}-{found[8:12]}-{found[12:16]}-{found[16:20]}-{found[20:]}"


def _just_after(moment: str) -> str:
    return timestamp(datetime.fromisoformat(moment) + timedelta(microseconds=1))


def _note(found: Walked, seq: int, problems: list[str]) -> None:
    found.broken += len(problems)
    found.problems += [(f"audit_events seq {seq}", problem) for problem in problems[: max(0, _MOST_PROBLEMS - len(found.problems))]]
