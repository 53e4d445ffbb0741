"""Where the bars of a small plot stand: what a version scores beside what it would replace. Drawing them is the template's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_METRICS = 12
_NAMES, _BARS, _VALUES, _ROW, _BAR = 190.0, 330.0, 120.0, 42.0, 13.0
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
    """One metric: its name and where it stands, the line that is zero, a bar for each side that has it."""

    metric: str
    y: float
    zero: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Plot:
    """Rows below each other, each on a scale of its own; `left_out` metrics found no room."""

    width: float
    height: float
    rows: tuple[Row, ...]
    left_out: int


def plot(challenger: Mapping[str, Any], champion: Mapping[str, Any]) -> Plot | None:
    """Return the plot of two sides' numbers, metrics both have first; None where there is nothing to draw."""
    sides = {"challenger": _numbers(challenger), "champion": _numbers(champion)}
    names = sorted(sides["challenger"] | sides["champion"], key=lambda name: (not all(name in side for side in sides.values()), name))
    if not names:
        return None
    rows = tuple(
        _row(name, {of: side[name] for of, side in sides.items() if name in side}, number * _ROW)
        for number, name in enumerate(names[:MOST_METRICS])
    )
    return Plot(_NAMES + _BARS + _VALUES, len(rows) * _ROW, rows, len(names) - len(rows))


def worded(number: float) -> str:
    """Return a number as people read it."""
    return f"{number:.4g}"


def _row(name: str, values: Mapping[str, float], top: float) -> Row:
    low, high = min(0.0, *values.values()), max(0.0, *values.values())
    whole = (high - low) or 1.0
    zero = _NAMES - low / whole * _BARS
    bars = []
    for number, (of, value) in enumerate(values.items()):
        y = top + _ROW / 2 + (number - len(values) / 2) * (_BAR + 2)
        length = value / whole * _BARS
        x, width = min(zero, zero + length), max(abs(length), 1.0)
        bars.append(Bar(of, round(x, 2), round(y, 2), round(width, 2), _BAR, worded(value), _NAMES + _BARS + 8))
    return Row(name, top + _ROW / 2, round(zero, 2), tuple(bars))


# What no plot can show is left to the table below it.
def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    numbers = ((name, value) for name, value in metrics.items() if isinstance(value, int | float) and not isinstance(value, bool))
    return {name: float(value) for name, value in numbers if abs(value) < _TOO_LARGE}
