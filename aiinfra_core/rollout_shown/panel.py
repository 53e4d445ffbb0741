"""One panel of a plot: where it stands, its scales, and what is drawn in it, as SVG elements."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

Point = tuple[datetime, float]

_TIMES = [timedelta(seconds=one) for one in (1, 2, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)]
LETTER = 11.0
"""How high a line of small text is."""
_TIME_WIDTH, _LETTER_WIDTH, _LINES = 60, 6.0, 4


@dataclass(frozen=True)
class Panel:
    """A rectangle with a scale of time and one of values; what lies outside is drawn at the edge."""

    x: float
    y: float
    width: float
    height: float
    since: datetime
    until: datetime
    low: float
    high: float

    def across(self, at: datetime) -> float:
        """Return where a time stands."""
        part = (at - self.since) / (self.until - self.since)
        return self.x + min(max(part, 0.0), 1.0) * self.width

    def up(self, value: float) -> float:
        """Return where a value stands."""
        part = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.y + (1 - min(max(part, 0.0), 1.0)) * self.height

    @property
    def foot(self) -> float:
        """Where it ends below."""
        return self.y + self.height

    @property
    def end(self) -> float:
        """Where it ends on the right."""
        return self.x + self.width


def tag(kind: str, text: str | None = None, **attributes: object) -> str:
    """Return an element; whatever is written in it becomes text."""
    given = "".join(f' {name.rstrip("_").replace("_", "-")}="{_plain(value)}"' for name, value in attributes.items())
    return f"<{kind}{given}/>" if text is None else f"<{kind}{given}>{escape(text)}</{kind}>"


def frame(panel: Panel, title: str, ticks: Iterable[tuple[float, str]]) -> Iterator[str]:
    """Draw the ground of a panel, its title, and its ticks of values."""
    yield tag("rect", class_="ground", x=panel.x, y=panel.y, width=panel.width, height=panel.height)
    yield tag("text", title, class_="title", x=panel.x, y=panel.y - 7)
    for value, told in ticks:
        height = panel.up(value)
        yield tag("line", class_="grid", x1=panel.x, x2=panel.end, y1=height, y2=height)
        yield tag("text", told, class_="tick", x=panel.x - 5, y=height + 3.5, text_anchor="end")


def line(panel: Panel, kind: str, pieces: Iterable[Sequence[Point]]) -> Iterator[str]:
    """Draw a line through points; between the pieces it is broken. A piece of one point is a dot."""
    for points in pieces:
        places = [f"{panel.across(at):.1f},{panel.up(value):.1f}" for at, value in points]
        if len(points) == 1:
            at, value = points[0]
            yield tag("circle", class_=f"dot {kind}", cx=panel.across(at), cy=panel.up(value), r=2)
        elif places:
            yield tag("polyline", class_=kind, points=" ".join(places))


def stairs(points: Sequence[Point], until: datetime) -> list[Point]:
    """Return the corners of a line that stays as it is until its next point."""
    ends = [at for at, _ in points[1:]] + [until]
    return [corner for (at, value), end in zip(points, ends, strict=True) for corner in ((at, value), (end, value))]


def limits(panel: Panel, values: Mapping[str, float]) -> Iterator[str]:
    """Draw limits by their kind, the highest first, and write beside the panel what they are."""
    free = -math.inf
    for kind, value in sorted(values.items(), key=lambda pair: -pair[1]):
        height = panel.up(value)
        free = max(height + 3.5, free)
        yield tag("line", class_=f"limit {kind}", x1=panel.x, x2=panel.end, y1=height, y2=height)
        yield tag("text", f"{kind} {value:.1f}", class_=f"label {kind}", x=panel.end + 4, y=free)
        free += LETTER


def stacked(labels: Iterable[tuple[float, str]]) -> Iterator[tuple[float, int, str]]:
    """Return labels, told by their middles, with the line each stands in so that none lies on another; what finds no line is left out."""
    ends = [-math.inf] * _LINES
    for middle, text in sorted(labels):
        half = len(text) * _LETTER_WIDTH / 2
        number = next((number for number, end in enumerate(ends) if middle - half >= end), None)
        if number is not None:
            ends[number] = middle + half
            yield middle, number, text


def time_ticks(panel: Panel) -> Iterator[str]:
    """Write times below a panel."""
    times = _times(panel.since, panel.until, int(panel.width // _TIME_WIDTH))
    exact = any(at.second for at in times)
    for at in times:
        x = panel.across(at)
        anchor = "middle" if x < panel.end - _TIME_WIDTH / 4 else "end"
        yield tag("line", class_="axis", x1=x, x2=x, y1=panel.foot, y2=panel.foot + 4)
        told = f"{at:%H:%M:%S}" if exact else f"{at:%H:%M}" if at.hour or at.minute else f"{at:%m-%d}"
        yield tag("text", told, class_="tick", x=x, y=panel.foot + 15, text_anchor=anchor)


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Return round values between two, at most so many and a few."""
    whole = (high - low) or 1.0
    power = 1.0
    while whole / power > most:
        power *= 10
    while whole / power < most / 10:
        power /= 10
    by = next(one * power for one in (0.1, 0.2, 0.5, 1.0, 2.0) if whole / (one * power) <= most)
    first, last = int(low // by), int(high // by)
    return [number * by for number in range(first, last + 1) if low <= number * by <= high]


def _times(since: datetime, until: datetime, most: int) -> list[datetime]:
    days = timedelta(days=1 + (until - since).days // most)
    by = next((one for one in _TIMES if (until - since) / one <= most), days)
    first = since.replace(hour=0, minute=0, second=0, microsecond=0)
    number = -((first - since) // by)
    found = []
    while (at := first + number * by) <= until:
        found.append(at)
        number += 1
    return found


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else escape(str(value))
