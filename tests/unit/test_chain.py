"""How one audit event follows another."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.audit_log.snapshot import INLINE_BYTES, snapshot
from aiinfra_core.errors import BadInput
from aiinfra_core.evidence.chain import Head, follow, head_after

TIME = "2026-01-02T03:04:05.000006Z"


def _payload(**changes: object) -> str:
    return json.dumps({"type": "training.requested", "time": TIME, **changes}, separators=(",", ":"))


def test_the_first_event_hashes_its_payload_alone() -> None:
    row = follow(Head(), _payload())
    assert row["hash"] == hashlib.sha256(_payload().encode()).hexdigest()
    assert (row["seq"], row["prev_hash"], row["event_type"]) == (1, None, "training.requested")
    assert row["ts"] == row["created_at"] == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


def test_a_later_event_hashes_its_payload_and_the_raw_hash_before_it() -> None:
    first = follow(Head(), _payload())
    second = follow(head_after(first), _payload(n=2))
    assert second["hash"] == hashlib.sha256(_payload(n=2).encode() + bytes.fromhex(first["hash"])).hexdigest()
    assert (second["seq"], second["prev_hash"]) == (2, first["hash"])


@given(
    st.lists(st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)), min_size=2, max_size=20)
)
def test_created_at_strictly_increases_whatever_the_clocks_say(moments: list[datetime]) -> None:
    head, seen = Head(), []
    for moment in moments:
        row = follow(head, _payload(time=moment.isoformat()))
        seen.append(row["created_at"])
        head = head_after(row)
    assert all(later - earlier >= timedelta(microseconds=1) for earlier, later in pairwise(seen))
    assert all(created >= moment for created, moment in zip(seen, moments, strict=True))


def test_a_payload_with_a_key_twice_is_refused() -> None:
    with pytest.raises(BadInput, match="twice"):
        follow(Head(), '{"type":"a","time":"' + TIME + '","type":"b"}')


def test_big_values_stand_in_a_snapshot_by_digest_and_size() -> None:
    big = "ä" * INLINE_BYTES
    row = snapshot({"text": big, "small": "x" * INLINE_BYTES, "bytes": b"abc"})
    assert row["text"] == {"sha256": hashlib.sha256(big.encode()).hexdigest(), "size": len(big.encode())}
    assert row["small"] == "x" * INLINE_BYTES
    assert row["bytes"] == {"sha256": hashlib.sha256(b"abc").hexdigest(), "size": 3}
