"""What people are shown of a rollout: sentences and a plot that say what the looks say, and nothing anybody wrote as markup."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from aiinfra_core.domain.rollout import Action, Counts, Judged, Judgement, Look, Reading, Rollout, RolloutOrder
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.http_api import rollout_page
from aiinfra_core.rollout_shown import panel, plot, timeline, words
from aiinfra_core.wire.rollouts import (
    SentCounts,
    SentHeard,
    SentJudged,
    SentJudgement,
    SentLook,
    SentOrder,
    SentRollout,
    SentRolloutDetails,
)
from tests.simulators.judged_rollouts import BEGAN, Traffic, shown

SPEC = RolloutSpec(bake_minutes=2)
EVIL = "</title><script>alert('x')</script>"


class Drawn(HTMLParser):
    """The elements of a document: their names, the points of lines by class, and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.lines: dict[str, list[list[tuple[float, float]]]] = {}
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        given: Mapping[str, str | None] = dict(attrs)
        if tag == "polyline":
            points = [(float(x), float(y)) for x, y in (pair.split(",") for pair in str(given["points"]).split())]
            self.lines.setdefault(str(given["class"]), []).append(points)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def bad() -> SentRolloutDetails:
    return shown(SPEC, Traffic(worse=3.0))


@pytest.fixture(scope="module")
def good() -> SentRolloutDetails:
    return shown(SPEC, Traffic(per_minute=3000))


def test_a_rollout_that_goes_back_says_so_and_its_line_crosses_the_limit(bad: SentRolloutDetails) -> None:
    assert words.sentence(bad.rollout) == "rainfall:2 was sent back from prod."
    assert "worse than 1.25 times the champion" in words.why(bad.rollout, bad.looks)
    drawn = Drawn(plot.svg(bad))
    crossed = [one.signal for one in bad.looks[-1].judged.signals if one.rollback >= one.rollback_at]
    heights = re.findall(r'class="limit back"[^>]*y1="([0-9.]+)"', plot.svg(bad))
    ends = [line[-1][1] for line in drawn.lines["back"]]
    names = [signal.name for signal in bad.rollout.spec.signals]
    assert [name for name, end, limit in zip(names, ends, heights, strict=True) if end <= float(limit)] == crossed


def test_a_rollout_that_completes_steps_up_to_all_traffic(good: SentRolloutDetails) -> None:
    assert [weight for _, weight in timeline.weights(good)] == [500, 2500, 5000, 10000]
    assert words.sentence(good.rollout) == "rainfall:2 got all traffic of prod."
    drawn = Drawn(plot.svg(good))
    assert {"25 %", "50 %", "100 %"} <= set(drawn.texts)
    steps = len({look.step for look in good.looks})
    assert len(drawn.lines["on"]) == steps * len(SPEC.signals)  # that evidence begins anew in each step


def test_what_only_sends_back_has_no_evidence_to_go_on_in_the_plot(good: SentRolloutDetails) -> None:
    signals = [signal.model_copy(update={"advances": signal.name == "errors"}) for signal in SPEC.signals]
    drawn = plot.svg(shown(SPEC.model_copy(update={"signals": tuple(signals)}), Traffic(), minutes=9))
    assert (drawn.count('class="limit on"'), drawn.count('class="limit back"')) == (1, len(SPEC.signals))
    assert (len(Drawn(drawn).lines["on"]), len(Drawn(drawn).lines["back"])) == (1, len(SPEC.signals))


def test_captions_end_before_the_plot_does_whatever_was_counted(good: SentRolloutDetails) -> None:
    many = SentCounts(units=123_456_789, bad=12_345_678)
    last = good.looks[-1]
    heard = tuple(one.model_copy(update={"champion": many, "challenger": many}) for one in last.readings)
    drawn = plot.svg(good.model_copy(update={"looks": (*good.looks[:-1], last.model_copy(update={"readings": heard}))}))
    captions = re.findall(r'<text class="tick" x="([0-9.]+)" y="[0-9.]+">([^<]*12,345,678[^<]*)<', drawn)
    assert len(captions) == 2 * len(SPEC.signals)
    assert all(float(x) + 5.5 * len(told) < plot.WIDTH for x, told in captions)


def test_orders_soon_after_each_other_are_not_written_over_each_other() -> None:
    found = shown(SPEC, Traffic(), minutes=40, orders={10: Action.PAUSE, 11: Action.RESUME, 35: Action.PAUSE})
    words_of = re.findall(r'x="([0-9.]+)" y="([0-9.]+)" text-anchor="middle">(pause|resume)<', plot.svg(found))
    (_, first, _), (_, second, _), (_, third, _) = words_of
    assert first == third != second


def test_labels_that_find_no_line_are_left_out() -> None:
    assert [number for _, number, _ in panel.stacked([(100.0, "pause")] * 9 + [(200.0, "pause")])] == [0, 1, 2, 3, 0]


def test_the_page_says_what_it_is_about_once_and_breaks_no_percentage(bad: SentRolloutDetails) -> None:
    text = rollout_page.page(bad, BEGAN, None)
    assert 'class="name"' not in text and 'class="name"' in plot.svg(bad)
    cells = re.findall(r'<td data-label="(?:Challenger|Champion|Weight)"[^>]*>([^<]*)<', text)
    assert any("\N{NO-BREAK SPACE}%" in cell for cell in cells) and not any(" %" in cell for cell in cells)


@pytest.mark.parametrize("seconds", [100, 130, 1000])
def test_times_of_an_axis_are_told_equally_precisely(seconds: int) -> None:
    one = panel.Panel(0, 0, 440, 100, BEGAN, BEGAN + timedelta(seconds=seconds), 0, 1)
    told = re.findall(r">([0-9:-]+)</text>", "".join(panel.time_ticks(one)))
    assert len({len(time) for time in told}) == 1, told


def test_one_that_goes_back_ends_with_no_traffic(bad: SentRolloutDetails) -> None:
    assert timeline.weights(bad)[-1] == (bad.rollout.ended_at, 0)


def test_an_open_one_says_how_far_it_is_what_was_silent_and_what_was_ordered() -> None:
    found = shown(SPEC, Traffic(), minutes=12, silent=range(5, 9), orders={10: Action.PAUSE})
    assert words.sentence(found.rollout) == (
        "rainfall:2 has 5 % of the traffic of prod, rainfall:1 the rest; step 1 of 4. It is paused: it may go back, but does not advance."
    )
    drawn = plot.svg(found)
    assert drawn.count('class="silent"') == len(SPEC.signals)
    assert "unreachable, from look 5 to 8" in drawn and "pause, by ops: to look at it" in drawn


def test_after_a_person_advanced_it_the_look_before_says_nothing_of_the_step() -> None:
    found = shown(SPEC, Traffic(), minutes=3)
    (paused,) = shown(SPEC, Traffic(), minutes=2, orders={1: Action.PAUSE}).orders
    order = paused.model_copy(update={"action": Action.ADVANCE, "created_at": found.looks[-1].created_at + timedelta(seconds=1)})
    ahead = found.rollout.model_copy(update={"step": found.looks[-1].step + 1})
    assert words.why(ahead, found.looks, [order]) == "advanced by ops: to look at it; not looked at since"
    assert not words.is_looked_at(ahead, found.looks)
    assert words.why(found.rollout, found.looks, [order]) == found.looks[-1].reason


def test_one_nobody_has_looked_at_is_shown_too() -> None:
    found = shown(SPEC, Traffic(), minutes=0)
    assert words.why(found.rollout, found.looks) == "Nobody has looked at it yet."
    assert "nothing counted yet" in plot.svg(found)
    assert "Nobody has looked at it yet." in rollout_page.page(found, BEGAN, None)


def test_nothing_anybody_wrote_becomes_markup_in_plot_or_page() -> None:
    found = shown(SPEC, Traffic(), minutes=12, silent=range(5, 9), orders={10: Action.PAUSE})
    evil = found.model_copy(
        update={
            "orders": tuple(one.model_copy(update={"reason": EVIL, "ordered_by": EVIL}) for one in found.orders),
            "looks": tuple(one.model_copy(update={"reason": EVIL}) for one in found.looks),
        }
    )
    for document in (plot.svg(evil), rollout_page.page(evil, BEGAN, "https://registry.example")):
        assert "&lt;script&gt;" in document
        assert not {"script", "img", "iframe", "form", "a"} & set(Drawn(document).names)


def test_the_page_has_every_signal_the_newest_looks_and_what_can_be_ordered(bad: SentRolloutDetails) -> None:
    text = re.sub(r"<[^>]+>", " ", rollout_page.page(bad, BEGAN, "https://registry.example"))
    last = bad.looks[-1]
    for one in last.judged.signals:
        assert f"{one.rollback:.2f} of {one.rollback_at:.2f}" in text
    assert "go back" in text and "aiinfra rollout pause" not in text
    open_one = rollout_page.page(shown(SPEC, Traffic(), minutes=3), BEGAN, "https://registry.example")
    assert "aiinfra rollout pause 00000000-0000-0000-0000-000000000009 --reason WHY --server https://registry.example" in open_one


def test_all_that_is_recorded_of_a_rollout_its_looks_and_orders_is_sent() -> None:
    for recorded, sent in (
        (Rollout, SentRollout),
        (Look, SentLook),
        (Reading, SentHeard),
        (Judged, SentJudged),
        (Judgement, SentJudgement),
        (Counts, SentCounts),
        (RolloutOrder, SentOrder),
    ):
        left_out = set(recorded.model_fields) - set(sent.model_fields)
        assert left_out == ({"rollout_id", "request_id"} if sent is SentOrder else set()), sent


@pytest.mark.parametrize("length", [timedelta(minutes=1), timedelta(minutes=59), timedelta(hours=7), timedelta(days=3), timedelta(days=90)])
def test_times_and_values_are_marked_a_few_times_whatever_the_span(length: timedelta) -> None:
    one = panel.Panel(0, 0, 440, 100, datetime(2026, 11, 23, 14, 55, 7, tzinfo=UTC), BEGAN + length, 0, 1)
    assert 2 <= len([mark for mark in panel.time_ticks(one) if mark.startswith("<text")]) <= 8
    for low, high in ((0.0, 0.000031), (0.0, 0.04), (-5.5, 7.1), (-300.0, 12.0), (0.0, 81234567.0)):
        marks = panel.ticks(low, high)
        assert 2 <= len(marks) <= 5 and all(low <= mark <= high for mark in marks), (low, high, marks)
