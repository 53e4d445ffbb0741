"""An event's text with gaps for what only the statement knows: nothing of it is lost, moved or written twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import canonical_json
from aiinfra_core.registry.writes import with_gaps


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), st.integers(1, 2**31 - 1))
def test_a_filled_text_is_the_canonical_text_of_the_filled_event(metadata: dict[str, str], version: int) -> None:
    event = {
        "rows": {"a": {"metadata": canonical_json.dumps(metadata).decode(), "version": "gap-1"}, "b": {"last": "gap-1", "on": "gap-2"}}
    }
    if any("gap-" in text for pair in metadata.items() for text in pair):
        return
    bound = with_gaps({"event_type": "t", "payload": canonical_json.dumps(event).decode()}, ['"gap-1"', '"gap-1"', "gap-2"])
    filled = "".join(
        part
        for pair in zip([bound[f"event_text_{n}"] for n in range(4)], [str(version), str(version), "today", ""], strict=True)
        for part in pair
    )
    meant = {"rows": {"a": {**event["rows"]["a"], "version": version}, "b": {"last": version, "on": "today"}}}
    assert (bound["event_event_type"], filled) == ("t", canonical_json.dumps(meant).decode())


def test_a_gap_that_is_not_there_or_in_another_order_is_a_slip_of_ours() -> None:
    for gaps in (["c"], ["b", "a"]):
        with pytest.raises(AssertionError):
            with_gaps({"event_type": "t", "payload": "a b"}, gaps)
