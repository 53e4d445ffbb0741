"""The plot of a rollout: the evidence of each signal against its limits, what was counted, and the challenger's part of the traffic.

It is one SVG document that needs nothing else and runs nothing; its colours follow whether the reader's screen is light or dark.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby

from aiinfra_core.domain.rollout import Heard
from aiinfra_core.domain.rollout_spec import WHOLE, SignalSpec
from aiinfra_core.rollout_shown import timeline, words
from aiinfra_core.rollout_shown.panel import LETTER, Panel, Point, frame, limits, line, stacked, stairs, tag, ticks, time_ticks
from aiinfra_core.wire.rollouts import SentCounts, SentHeard, SentLook, SentRolloutDetails

STYLE = """\
.rollout-plot { --ink: #1c2430; --quiet: #5d6878; --paper: #fff; --ground: #f3f5f8; --line: #d9dfe7; --back: #b02a37; --on: #0b6e4f;
  --new: #1f5fbf; --old: #8592a5; background: var(--paper); font: 11px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .rollout-plot { --ink: #e4e9f0; --quiet: #9aa6b6; --paper: #1a2029; --ground: #11151b;
  --line: #323b48; --back: #f08a94; --on: #5cc28f; --new: #6ea3f0; --old: #8592a5; } }
.rollout-plot text { fill: var(--ink); font: inherit; } .rollout-plot .tick { fill: var(--quiet); font-size: 10px; }
.rollout-plot .name { font-size: 14px; font-weight: 600; } .rollout-plot .title { font-weight: 600; }
.rollout-plot .ground { fill: var(--ground); } .rollout-plot .grid { stroke: var(--line); } .rollout-plot .axis { stroke: var(--quiet); }
.rollout-plot polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; } .rollout-plot .limit { stroke-dasharray: 5 3; }
.rollout-plot .back { stroke: var(--back); } .rollout-plot .on { stroke: var(--on); }
.rollout-plot .challenger { stroke: var(--new); } .rollout-plot .champion { stroke: var(--old); }
.rollout-plot .label { stroke: none; font-size: 10px; }
.rollout-plot .label.back { fill: var(--back); } .rollout-plot .label.on { fill: var(--on); }
.rollout-plot .step { stroke: var(--quiet); stroke-dasharray: 1 3; } .rollout-plot .silent { fill: var(--quiet); fill-opacity: .35; }
.rollout-plot .key { stroke-width: 2.5; } .rollout-plot .order { fill: var(--ink); } .rollout-plot .dot { stroke-width: 3; }
"""
"""What a page that holds the plot has to allow."""

WIDTH = 860.0
_LEFT, _EVIDENCE, _COUNTS_AT, _COUNTS = 44.0, 440.0, 584.0, 264.0
_TITLE, _HEAD, _HEIGHT, _GAP, _FOOT = 22.0, 68.0, 104.0, 50.0, 14.0
_LEGEND = (
    (_LEFT, "back", "that it is worse: it goes back above its limit"),
    (_LEFT + 250, "on", "that it is as good: it goes on above its limit"),
    (_COUNTS_AT, "challenger", "challenger"),
    (_COUNTS_AT + 90, "champion", "champion"),
)
_LEAST_HIGH, _DEEP = 1.25, 2.0


def svg(found: SentRolloutDetails, *, titled: bool = True) -> str:
    """Return the plot of a rollout and its looks, titled unless its page is; values far beyond their limits are drawn at the edge."""
    rows = len(found.rollout.spec.signals) + 1
    height = _HEAD + rows * (_HEIGHT + _GAP) + _FOOT - 16
    about = f"{words.name(found.rollout)} over {words.champion(found.rollout)} in {found.rollout.environment}"
    title = f"{about}: {words.STATES.get(found.rollout.status, found.rollout.status)}"
    heading = tag("text", title, class_="name", x=8.0, y=18.0) + "\n" if titled else ""
    drawn = f"{tag('title', title)}\n{heading}" + "\n".join(_drawn(found))
    top = 0.0 if titled else _TITLE
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" class="rollout-plot" viewBox="0 {top:g} {WIDTH:g} {height - top:g}" role="img">'
    return f"{opening}\n<style>{STYLE}</style>\n{drawn}\n</svg>\n"


def _drawn(found: SentRolloutDetails) -> Iterator[str]:
    yield from _legend()
    for number, signal in enumerate(found.rollout.spec.signals):
        top = _HEAD + number * (_HEIGHT + _GAP)
        yield from _evidence(found, signal, top)
        yield from _shares(found, signal.name, top)
    top = _HEAD + len(found.rollout.spec.signals) * (_HEIGHT + _GAP)
    yield from _weights(found, top)
    yield from _units(found, top)


def _legend() -> Iterator[str]:
    for x, kind, told in _LEGEND:
        yield tag("line", class_=f"key {kind}", x1=x, x2=x + 14, y1=36.0, y2=36.0)
        yield tag("text", told, class_="tick", x=x + 18, y=39.5)


def _evidence(found: SentRolloutDetails, signal: SignalSpec, top: float) -> Iterator[str]:
    judged = [(look, one) for look in found.looks for one in look.judged.signals if one.signal == signal.name]
    told = {"back": [(look, one.rollback) for look, one in judged]}
    told |= {"on": [(look, one.advance) for look, one in judged]} if signal.advances else {}
    limit = {"back": judged[-1][1].rollback_at, "on": judged[-1][1].advance_at} if judged else {}
    values = [value for pairs in told.values() for _, value in pairs]
    reach = max((limit[kind] for kind in told if limit), default=6.0) or 1.0
    high = max(reach * _LEAST_HIGH, min(max(values, default=0.0), reach * _DEEP))
    low = min(-0.3 * reach, max(min(values, default=0.0), -reach))
    panel = _left(found, top, low, high)
    yield from frame(panel, f"{signal.name}: evidence (ln e)", [(value, f"{value:g}") for value in ticks(low, high)])
    yield from _silences(found.looks, signal.name, panel)
    yield from _moves(found, panel)
    yield from limits(panel, {kind: limit[kind] for kind in told if limit})
    yield from line(panel, "on", _by_step(told.get("on", ())))
    yield from line(panel, "back", [[(look.created_at, value) for look, value in told["back"]]])


def _shares(found: SentRolloutDetails, signal: str, top: float) -> Iterator[str]:
    heard = _heard(found.looks, signal)
    of = {arm: [(look, one.bad / one.units) for look, one in pairs if one.units] for arm, pairs in _of_arms(heard).items()}
    panel = _right(found, top, _highest(of, 0.01))
    yield from frame(panel, f"{signal}: bad share in the step", [(value, f"{value * 100:g} %") for value in ticks(0.0, panel.high, 3)])
    newest = {arm: pairs[-1][1] for arm, pairs in reversed(_of_arms(heard).items()) if pairs}
    captions = [f"{arm}: {counts.bad:,} of {counts.units:,} bad" for arm, counts in newest.items()] or ["nothing counted yet"]
    for number, told in enumerate(captions):
        yield tag("text", told, class_="tick", x=panel.x, y=panel.foot + 12 + number * LETTER)
    for arm, pairs in of.items():
        yield from line(panel, arm, _by_step(pairs))


def _weights(found: SentRolloutDetails, top: float) -> Iterator[str]:
    panel = _left(found, top, 0, WHOLE)
    told = timeline.weights(found)
    yield from frame(panel, "the challenger's part of the traffic", [(part * WHOLE, f"{part * 100:.0f} %") for part in (0, 0.5, 1)])
    yield from _moves(found, panel)
    for x, number, share in stacked((panel.across(at), words.share(weight)) for at, weight in told[1:]):
        yield tag("text", share, class_="tick", x=x - 3, y=panel.y + 10 + number * LETTER, text_anchor="end")
    yield from line(panel, "challenger", [stairs([(at, float(weight)) for at, weight in told], panel.until)])
    for order in found.orders:
        x, foot = panel.across(order.created_at), panel.foot
        mark = tag("title", f"{order.action}, by {order.ordered_by}: {order.reason}")
        yield f"<g>{mark}{tag('path', class_='order', d=f'M{x - 4:.1f} {foot:.1f}h8l-4 -7z')}</g>"
    for x, number, action in stacked((panel.across(order.created_at), str(order.action)) for order in found.orders):
        yield tag("text", action, class_="tick", x=x, y=panel.foot - 10 - number * LETTER, text_anchor="middle")
    yield from time_ticks(panel)


def _units(found: SentRolloutDetails, top: float) -> Iterator[str]:
    heard = next((pairs for signal in found.rollout.spec.signals if (pairs := _heard(found.looks, signal.name))), [])
    of = {arm: [(look, float(one.units)) for look, one in pairs] for arm, pairs in _of_arms(heard).items()}
    panel = _right(found, top, _highest(of, 10.0))
    title = f"{found.rollout.spec.unit}s counted in the step"
    yield from frame(panel, title, [(value, f"{value:,.0f}") for value in ticks(0.0, panel.high, 3)])
    for arm, counted in of.items():
        yield from line(panel, arm, _by_step(counted))
    yield from time_ticks(panel)


def _left(found: SentRolloutDetails, top: float, low: float, high: float) -> Panel:
    return Panel(_LEFT, top, _EVIDENCE, _HEIGHT, *timeline.span(found), low, high)


def _right(found: SentRolloutDetails, top: float, high: float) -> Panel:
    return Panel(_COUNTS_AT, top, _COUNTS, _HEIGHT, *timeline.span(found), 0.0, high)


def _heard(looks: Sequence[SentLook], signal: str) -> list[tuple[SentLook, SentHeard]]:
    return [(look, one) for look in looks for one in look.readings if one.signal == signal and one.heard == Heard.OK]


def _of_arms(heard: Sequence[tuple[SentLook, SentHeard]]) -> dict[str, list[tuple[SentLook, SentCounts]]]:
    return {
        "champion": [(look, one.champion) for look, one in heard if one.champion],
        "challenger": [(look, one.challenger) for look, one in heard if one.challenger],
    }


def _highest(of: Mapping[str, Sequence[tuple[SentLook, float]]], least: float) -> float:
    return max((value for pairs in of.values() for _, value in pairs), default=0.0) * 1.15 or least


def _by_step(pairs: Iterable[tuple[SentLook, float]]) -> Iterator[list[Point]]:
    for _, piece in groupby(pairs, key=lambda pair: pair[0].step):
        yield [(look.created_at, value) for look, value in piece]


def _moves(found: SentRolloutDetails, panel: Panel) -> Iterator[str]:
    for at, _ in timeline.weights(found)[1:]:
        x = panel.across(at)
        yield tag("line", class_="step", x1=x, x2=x, y1=panel.y, y2=panel.foot)


# What was not heard is a grey stretch at the foot, from the look before to the last that heard nothing.
def _silences(looks: Sequence[SentLook], signal: str, panel: Panel) -> Iterator[str]:
    before: datetime = panel.since
    stretches = groupby(looks, key=lambda look: next((one.heard for one in look.readings if one.signal == signal), Heard.NO_DATA))
    for heard, silent in ((heard, list(group)) for heard, group in stretches):
        if heard not in (Heard.OK, Heard.WARMING_UP):
            x, end = panel.across(before), panel.across(silent[-1].created_at)
            about = tag("title", f"{heard}, from look {silent[0].number} to {silent[-1].number}")
            shape = tag("rect", class_="silent", x=x, y=panel.foot - 6, width=max(end - x, 2.0), height=6)
            yield f"<g>{about}{shape}</g>"
        before = silent[-1].created_at
