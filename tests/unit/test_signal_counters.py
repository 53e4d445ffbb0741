"""What samples of a counter mean: the same whole, wherever looks fall in between, through restarts and for counters that are new."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.domain.rollout import Heard
from aiinfra_core.signals.counters import Series, new_in, rises, series_of
from aiinfra_core.signals.readings import Unusable

LABELS = (("__name__", "served_total"), ("pod", "one"))
VALUES = st.lists(st.integers(0, 1000), min_size=1, max_size=30)


def risen(values: list[int], since: float, until: float, first: int = 0) -> int:
    """Ask as a look does: samples from somewhat before `since` until `until`, and the last one before those where there is none."""
    samples = [(float(first + number), float(value)) for number, value in enumerate(values)]
    seen = [sample for sample in samples if since - 2 <= sample[0] <= until]
    older = [sample for sample in samples if sample[0] < since - 2]
    series = [Series(LABELS, seen)] if seen else []
    earlier = [Series(LABELS, older[-1:])] if older and new_in(series, since) else []
    return sum(rises(series, since, earlier).values())


@given(VALUES, st.lists(st.integers(0, 30), max_size=5))
def test_looks_in_between_change_nothing(values: list[int], looks: list[int]) -> None:
    cuts = [-1, *sorted(looks), 40]
    parts = [risen(values, since, until) for since, until in pairwise(cuts) if since < until]
    assert sum(parts) == risen(values, -1, 40)


@given(VALUES)
def test_a_new_counter_counts_from_zero_and_one_that_began_again_too(values: list[int]) -> None:
    expected = values[0] + sum(now - before if now >= before else now for before, now in pairwise(values))
    assert risen(values, -1, 40) == expected
    assert risen(values, 0, 40) == expected - values[0]


@given(VALUES, st.integers(1, 20))
def test_a_counter_that_was_out_of_sight_goes_on_from_where_it_was(values: list[int], gap: int) -> None:
    rising = [sum(values[: number + 1]) for number in range(len(values))]
    samples = [(float(number), float(value)) for number, value in enumerate(rising)]
    later = Series(LABELS, [(len(rising) + gap + 10.0, rising[-1] + 5.0)])
    assert rises([later], len(rising) + 5.0, [Series(LABELS, samples[-1:])]) == {LABELS: 5}


def test_labels_tell_series_apart() -> None:
    answered = [{"metric": {"pod": pod}, "values": [[1, "2"], [2, "4"]]} for pod in ("one", "two")]
    assert rises(series_of(answered, 2), 1) == {(("pod", "one"),): 2, (("pod", "two"),): 2}


def answered(*values: Any) -> list[dict[str, Any]]:
    return [{"metric": {"pod": "one"}, "values": list(values)}]


@pytest.mark.parametrize("moment", ["nan", "1", True, None, float("nan"), float("inf"), 1e300, 10**400, -1, 103, [1]])
def test_a_sample_of_no_time_that_was_asked_about_is_not_believed(moment: Any) -> None:
    with pytest.raises(Unusable) as found:
        series_of(answered([moment, "1"]), until=100)
    assert found.value.heard is Heard.MALFORMED


@pytest.mark.parametrize("value", [1, None, "", "1_0", " 1", "\u0661", "1e", "0x1", "one"])
def test_a_sample_that_is_no_text_of_a_number_is_not_believed(value: Any) -> None:
    with pytest.raises(Unusable, match="cannot be read"):
        series_of(answered([1, value]), until=100)


@pytest.mark.parametrize("value", ["0", "12", "1e+06", "2.5e-05", "1.7976931348623157e+308"])
def test_numbers_as_prometheus_writes_them_are_read(value: str) -> None:
    (series,) = series_of(answered([1, value]), until=100)
    assert series.samples == [(1.0, float(value))]


def test_a_rise_beyond_what_can_be_counted_is_not_believed() -> None:
    for values in (["1e300", "0", "1e300"], ["1.7e308", "0"] * 3):
        series = series_of(answered(*([1 + second, value] for second, value in enumerate(values))), until=100)
        with pytest.raises(Unusable, match="more than can be counted"):
            rises(series, since=0)
