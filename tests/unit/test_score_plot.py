"""The plot of scores: whatever the numbers are, each bar is on the paper, on the right side of zero, and as long as its number says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.http_api.score_plot import MOST_METRICS, plot

numbers = st.dictionaries(st.text(max_size=4), st.floats() | st.integers() | st.booleans() | st.text(max_size=2) | st.none(), max_size=20)


@given(numbers, numbers)
def test_every_bar_is_on_the_paper(challenger: dict[str, Any], champion: dict[str, Any]) -> None:
    drawn = plot(challenger, champion)
    if drawn is None:
        return
    assert len(drawn.rows) <= MOST_METRICS
    for row in drawn.rows:
        assert 1 <= len(row.bars) <= 2
        for bar in row.bars:
            assert 0 <= bar.x <= bar.x + bar.width <= drawn.width
            assert 0 <= bar.y <= bar.y + bar.height <= drawn.height


def test_bars_of_one_metric_share_a_scale_and_begin_at_zero() -> None:
    drawn = plot({"quality": 0.5, "bias": -2}, {"quality": 1.0, "bias": 1})
    assert drawn is not None
    bias, quality = drawn.rows
    (new, old), (below, above) = quality.bars, bias.bars
    assert (new.of, old.of, new.x, old.width) == ("challenger", "champion", old.x, 2 * new.width)
    assert below.x + below.width == pytest.approx(bias.zero) and above.x == pytest.approx(bias.zero)
    assert below.width == pytest.approx(2 * above.width, abs=0.02)


def test_what_rules_name_comes_first_and_of_the_rest_what_both_have_and_is_a_number() -> None:
    mixed = {"a": 0.1, "b": 0.3, "z": 0.2, "text": "x", "nan": float("nan"), "flag": True}
    drawn = plot(mixed, {"z": 0.3, "b": 0.1, "flag": True}, {"z", "elsewhere"})
    assert drawn is not None
    assert [row.metric for row in drawn.rows] == ["z", "b"]
    alone = plot(mixed, {}, {"a"})
    assert alone is not None and [len(row.bars) for row in alone.rows] == [1]
    assert plot({"a": "x", "b": 0.5}, {}) is None


def test_counts_and_shares_are_no_scores_unless_a_rule_names_them() -> None:
    measured = {"quality": 0.9, "loss": -1, "rows": 3000, "positives": 930, "positives_share": 0.31, "row_count": 0.5}
    drawn = plot(measured, measured)
    assert drawn is not None and [row.metric for row in drawn.rows] == ["loss", "quality"]
    named = plot(measured, measured, {"positives_share"})
    assert named is not None and [row.metric for row in named.rows] == ["positives_share", "loss", "quality"]


def test_no_more_is_drawn_than_there_is_room_for() -> None:
    metrics = {f"m{number}": number / 20 for number in range(20)}
    many = plot(metrics, metrics)
    assert many is not None and many.left_out == 20 - MOST_METRICS
