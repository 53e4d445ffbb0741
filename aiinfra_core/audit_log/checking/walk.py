"""Walk a stretch of the log from a given tip: chain, times, signatures, leaves, and what each event tells of state rows.

Pure: rows come as text, as Postgres writes it, because an audit reads millions; the usual row is compared with the one that must follow
and only another one is looked at column by column. Where rows come from lives in `stretches`, what is done with the outcome in `check`.
"""

import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha1, sha256
from json.encoder import encode_basestring as _text
from typing import Any, NamedTuple, NoReturn, cast

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
_NAMESPACE = chain.NAMESPACE.bytes
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}

Problem = tuple[str, str]
Told = dict[str, Any]


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
    leaves: bytes = b""
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


def walk(tip: Tip, rows: Sequence[Row], keys: Mapping[str, list[AuditKey]], primary_keys: Mapping[str, tuple[str, ...]]) -> Walked:
    """Check that these rows follow each other after `tip`, and each is signed.

    Args:
        tip: the event before the first row.
        rows: in the order of `seq`.
        keys: from `audit_keys`.
        primary_keys: state table -> its key columns.
    """
    # One after the other, with nothing between them, a tenth more signatures are verified in the same time.
    signed = [_signature_problems(row, iso(row[9]), keys) for row in rows]
    found, leaves = Walked(tip), []
    for row, problems in zip(rows, signed, strict=True):
        created = iso(row[9])
        event = _follow(tip, row, created)
        if event is None:
            event, differing = _look_closely(tip, Row._make(row))
            problems[:0] = differing
        if problems:
            _note(found, row[0], problems)
        leaves.append(merkle.leaf_hash(_odd_leaf(Row._make(row)) if problems else _leaf(row, event["time"], created)))
        for name, key, told in rows_told(event, primary_keys):
            found.told[name, key] = (row[0], told)
        tip = Tip(row[0], row[5], created)
    found.tip, found.events, found.leaves = tip, len(leaves), b"".join(leaves)
    return found


def rows_told(event: Mapping[str, Any], primary_keys: Mapping[str, tuple[str, ...]]) -> list[tuple[str, str, Told]]:
    """Return table, key as text, and row, of every state row that an event tells of."""
    rows = event.get("rows")
    return [
        (name, "/".join([str(row.get(column)) for column in primary_keys[name]]), row)
        for name, row in (rows.items() if isinstance(rows, dict) else ())
        if name in primary_keys and isinstance(row, dict)
    ]


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


# The scanner itself: no white space around, or after, an event as it is written.
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse).scan_once  # type: ignore[attr-defined]


def _follow(tip: Tip, row: Row, created: str) -> dict[str, Any] | None:
    """Return the event if every column is, beyond doubt, what `chain.follow` gives; it alone decides about the others."""
    seq, id_, event_type, payload, prev_hash, digest, _, _, ts, created_at, metadata, version = row
    try:
        data = payload.encode()
        expected = sha256(data + bytes.fromhex(tip.hash) if tip.hash else data).hexdigest()
        event, end = _scan(payload, 0)
        moment = event["time"]
        if (
            seq == tip.seq + 1
            and prev_hash == tip.hash
            and digest == expected
            and id_ == _uuid5(digest)
            and event_type == event["type"]
            and len(moment) == 27
            and (created if ts == created_at else iso(ts)) == moment
            and created == (moment if moment > tip.created_at else _just_after(tip.created_at))
            and metadata == "{}"
            and version == chain.VERSION
            and end == len(payload)
            and "\\u" not in payload
        ):
            return cast("dict[str, Any]", event)
    except (AttributeError, KeyError, OverflowError, RecursionError, StopIteration, TypeError, ValueError):
        pass
    return None


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


def _signature_problems(row: Row, created: str, keys: Mapping[str, list[AuditKey]]) -> list[str]:
    seq, signer_id, text = row[0], row[7], row[6]
    able = [key for key in keys.get(signer_id, ()) if key.since <= created < key.until and seq <= key.bad_from]
    try:
        signature, message = binascii.a2b_base64(text, strict_mode=True), bytes.fromhex(row[5])
    except (TypeError, ValueError):
        signature = message = b""
    for entry in able:
        try:
            entry.key.verify(message, signature)
        except EvidenceBroken:
            continue
        return [] if binascii.b2a_base64(signature, newline=False).decode() == text else ["signature is spelled in an unusual way"]
    if able:
        return ["signature does not verify"]
    if signer_id in keys:
        return [f"signer_id {signer_id} had no trusted key at that time and place of the log"]
    return [f"signer_id {signer_id} has no trusted key"]


def _leaf(row: Row, ts: str, created: str) -> bytes:
    """Return what `entry.leaf` gives for a row in which nothing is wrong: then only these three texts may need escaping."""
    seq, id_, event_type, payload, prev_hash, digest, signature, signer_id, _, _, _, version = row
    prev = f'"{prev_hash}"' if prev_hash else "null"
    return (
        f'{{"created_at":"{created}","event_type":{_text(event_type)},"hash":"{digest}","id":"{id_}","metadata":"{{}}",'
        f'"payload":{_text(payload)},"prev_hash":{prev},"seq":{seq},"signature":"{signature}","signer_id":{_text(signer_id)},'
        f'"ts":"{ts}","version":{version}}}'
    ).encode()


def _odd_leaf(row: Row) -> bytes:
    columns = row._asdict() | {"ts": iso(row.ts), "created_at": iso(row.created_at)}
    return json.dumps(columns, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _uuid5(digest: str) -> str:
    found = sha1(_NAMESPACE + digest.encode(), usedforsecurity=False).hexdigest()
    return f"{found[:8]}-{found[8:12]}-5{found[13:16]}-{_VARIANT[found[16]]}{found[17:20]}-{found[20:32]}"


def _just_after(moment: str) -> str:
    return timestamp(datetime.fromisoformat(moment) + timedelta(microseconds=1))


def _note(found: Walked, seq: int, problems: list[str]) -> None:
    found.broken += len(problems)
    found.problems += [(f"audit_events seq {seq}", problem) for problem in problems[: max(0, _MOST_PROBLEMS - len(found.problems))]]
