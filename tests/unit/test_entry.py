"""Entries of the log: one spelling per row, and what must hold in one."""

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import canonical_json
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.evidence.entry import COLUMNS, check, check_signature, leaf, read_leaf
from aiinfra_core.evidence.statement import timestamp
from aiinfra_core.log_tables import audit_events
from aiinfra_core.signing import local
from aiinfra_core.signing.signer import Signer

TIME = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

_texts = st.text(st.characters(codec="utf-8"), max_size=30)
_numbers = st.integers(-(2**53) + 1, 2**53 - 1)
_zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
_times = st.datetimes(timezones=_zones, min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))
_rows = st.fixed_dictionaries(
    dict.fromkeys(("event_type", "hash", "metadata", "payload", "signature", "signer_id"), _texts)
    | {"id": st.uuids(), "prev_hash": st.none() | _texts, "seq": _numbers, "version": _numbers, "ts": _times, "created_at": _times}
)


@pytest.fixture
def signer() -> Signer:
    return local.from_base64(local.generate())


def _signed(signer: Signer, head: Head, number: int = 1) -> dict[str, Any]:
    row = follow(head, canonical_json.dumps({"type": "training.requested", "time": timestamp(TIME), "n": number}).decode())
    signature = base64.b64encode(signer.sign(bytes.fromhex(row["hash"]))).decode()
    return row | {"signature": signature, "signer_id": signer.signer_id}


def test_an_entry_has_every_column_of_the_table() -> None:
    assert sorted(audit_events.c.keys()) == list(COLUMNS)


@given(_rows)
def test_an_entry_is_the_canonical_json_of_its_row(row: dict[str, Any]) -> None:
    plain = row | {"id": str(row["id"]), "ts": timestamp(row["ts"]), "created_at": timestamp(row["created_at"])}
    assert leaf(row) == canonical_json.dumps(plain)


@given(_rows)
def test_an_entry_is_read_back_as_its_row(row: dict[str, Any]) -> None:
    assert read_leaf(leaf(row)) == row


@pytest.mark.parametrize("name", COLUMNS)
def test_a_row_with_a_column_no_event_has_is_refused(signer: Signer, name: str) -> None:
    wrong: list[object] = [2**53, 1.5, b"bytes", [], {}, True, datetime(2026, 1, 1), "\ud800"]
    for value in wrong:
        with pytest.raises(EvidenceBroken, match=r"^entry: "):
            leaf(_signed(signer, Head()) | {name: value})


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"seq":1', b'"seq":1.0'),
        lambda text: text.replace(b'"seq":1', b'"seq": 1'),
        lambda text: text.replace(b'"seq":1', b'"seq":true'),
        lambda text: text.replace(b'"seq":1', b'"seq":"1"'),
        lambda text: text.replace(b'"seq":1', b'"seq":1,"seq":1'),
        lambda text: text.replace(b'"seq":1', b'"more":0,"seq":1'),
        lambda text: text.replace(b'"seq":1,', b""),
        lambda text: text.replace(b".000006Z", b".000006+00:00"),
        lambda text: text.replace(b'"id":"', b'"id":"urn:uuid:'),
        lambda text: text.replace(b'"metadata":"{}"', b'"metadata":{}'),
        lambda text: text.replace(b"training.requested", b"training.reques\\u0074ed"),
        lambda text: text + b"\n",
        lambda text: text[:-1],
        lambda text: b"[" + text + b"]",
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")).encode(),
    ],
)
def test_another_spelling_of_an_entry_is_refused(signer: Signer, change: Any) -> None:
    written = leaf(_signed(signer, Head()))
    assert change(written) != written
    with pytest.raises(EvidenceBroken, match=r"^entry: "):
        read_leaf(change(written))


@given(st.binary(max_size=80))
def test_any_bytes_are_an_entry_or_refused(data: bytes) -> None:
    with pytest.raises(EvidenceBroken):
        read_leaf(data)


def test_an_event_and_the_next_one_hold(signer: Signer) -> None:
    first = _signed(signer, Head())
    second = _signed(signer, head_after(first), 2)
    assert second["created_at"] > second["ts"]
    for row in (first, second):
        check(read_leaf(leaf(row)))
        assert check_signature(row, {signer.public_key.keyid: signer.public_key}) == signer.public_key.keyid


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq", 1),
        ("seq", 0),
        ("prev_hash", None),
        ("prev_hash", "ab" * 32),
        ("prev_hash", "no hex"),
        ("hash", "ab" * 32),
        ("id", UUID(int=1)),
        ("event_type", "artifact.registered"),
        ("payload", "{}"),
        ("payload", "[]"),
        ("payload", "no JSON"),
        ("ts", TIME + timedelta(microseconds=1)),
        ("created_at", TIME - timedelta(microseconds=1)),
        ("metadata", '{"a":1}'),
        ("version", 2),
    ],
)
def test_a_changed_column_does_not_follow(signer: Signer, name: str, value: Any) -> None:
    row = _signed(signer, head_after(_signed(signer, Head())), 2)
    check(row)
    with pytest.raises(EvidenceBroken, match=r"^entry: "):
        check(row | {name: value})


def test_a_signature_of_another_key_over_another_hash_or_oddly_spelled_is_refused(signer: Signer) -> None:
    row, other = _signed(signer, Head()), local.from_base64(local.generate())
    keys = {key.keyid: key for key in (other.public_key, signer.public_key)}
    assert check_signature(row, keys) == signer.public_key.keyid
    odd = row["signature"][:-3] + chr(ord(row["signature"][-3]) + 1) + "=="
    for wrong in ({"hash": "ab" * 32}, {"hash": "no hex"}, {"signature": odd}, {"signature": ""}, {"signature": row["signature"] + "\n"}):
        with pytest.raises(EvidenceBroken, match=r"^entry signature: "):
            check_signature(row | wrong, keys)
    with pytest.raises(EvidenceBroken, match="no trusted key"):
        check_signature(row, {other.public_key.keyid: other.public_key})
