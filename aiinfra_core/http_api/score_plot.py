"""Where the bars of a small plot stand: what a version scores beside what it would replace. Drawing them is the template's.

How many rows there were, or how large a share of them was positive, is measured too but is no score.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

MOST_METRICS = 12
_LEFT, _BARS, _VALUES, _NAME, _ROW, _BAR = 4.0, 400.0, 96.0, 22.0, 60.0, 13.0
_NO_SCORE = re.compile(r"(^|[_.-])(rows?|counts?|number|n|support|shares?|fraction|prevalence)$")
_TOO_LARGE = 1e300


@dataclass(frozen=True)
class Bar:
    """One bar, in the plot's units; `value` is its number in words."""

    of: str
    x: float
    y: float
    width: float
    height: float
    value: str
    value_x: float


@dataclass(frozen=True)
class Row:
    """One metric: its name and where that stands, the line that is zero and where it ends, a bar for each side that has it."""

    metric: str
    y: float
    zero: float
    end: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Plot:
    """Rows below each other, each on a scale of its own; `left_out` metrics found no room."""

    width: float
    height: float
    rows: tuple[Row, ...]
    left_out: int


def plot(challenger: Mapping[str, Any], champion: Mapping[str, Any], judged_by: Collection[str] = ()) -> Plot | None:
    """Return the plot of two sides' scores; None where there is nothing to draw.

    Args:
        challenger: the metrics of what is to be promoted.
        champion: those of what it would replace.
        judged_by: metrics that rules name; they come first, also where only one side has them. Of the others those are drawn that both
            have and that are scores.
    """
    sides = {"challenger": _numbers(challenger), "champion": _numbers(champion)}
    both = {name for name in sides["challenger"].keys() & sides["champion"].keys() if _is_score(name, sides)}
    named = set(judged_by) & (sides["challenger"].keys() | sides["champion"].keys())
    names = [*sorted(named), *sorted(both - named)]
    if not names:
        return None
    rows = tuple(
        _row(name, {of: side[name] for of, side in sides.items() if name in side}, number * _ROW)
        for number, name in enumerate(names[:MOST_METRICS])
    )
    return Plot(_LEFT + _BARS + _VALUES, len(rows) * _ROW, rows, len(names) - len(rows))


def worded(number: float) -> str:
    """Return a number as people read it."""
    return f"{number:.4g}"


def _row(name: str, values: Mapping[str, float], top: float) -> Row:
    low, high = min(0.0, *values.values()), max(0.0, *values.values())
    whole = (high - low) or 1.0
    zero = _LEFT - low / whole * _BARS
    bars = []
    for number, (of, value) in enumerate(values.items()):
        y = top + _NAME + number * (_BAR + 2)
        length = value / whole * _BARS
        x, width = min(zero, zero + length), max(abs(length), 1.0)
        bars.append(Bar(of, round(x, 2), round(y, 2), round(width, 2), _BAR, worded(value), _LEFT + _BARS + 8))
    return Row(name, top + _NAME - 6, round(zero, 2), bars[-1].y + _BAR, tuple(bars))


# A whole number above 1 on both sides counts something.
def _is_score(name: str, sides: Mapping[str, Mapping[str, float]]) -> bool:
    counted = all(side[name].is_integer() and side[name] > 1 for side in sides.values())
    return not counted and not _NO_SCORE.search(name.lower())


# What no plot can show is left to the table below it.
def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    numbers = ((name, value) for name, value in metrics.items() if isinstance(value, int | float) and not isinstance(value, bool))
    return {name: float(value) for name, value in numbers if abs(value) < _TOO_LARGE}
