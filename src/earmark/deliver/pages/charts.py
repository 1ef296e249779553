"""Charts of report pages as SVG elements: they take the page's colours, light or dark.

A chart carries its points for the page's script, which says the values under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from earmark.deliver.pages.scripts import script_json

WIDTH, HEIGHT = 480.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 10.0, 34.0
_MOST = 400  # points of a curve that are drawn
COLOURS = 8
"""Colours of the style sheet: ``--c0``, ``--c1``, …"""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class ChartLine:
    """A line of a chart.

    Attributes:
        name: In the legend.
        points: x and y, x rising; what is not finite is left out.
        colour: Number of its colour.
        step: Whether y holds until the next x.
        thin: Whether it stands behind the others.
    """

    name: str
    points: Points
    colour: int = 0
    step: bool = False
    thin: bool = False


@dataclass(frozen=True)
class Bound:
    """A level that the curves should keep to: a dashed line, said in words.

    Attributes:
        value: On the y axis.
        words: As ``warning above 0.7``.
    """

    value: float
    words: str


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        title: Above it, and its name for screen readers.
        curves: At least one with points.
        x: Name of the x axis.
        bounds: Levels that the curves should keep to.
        low: Lowest y; that of the points when None.
        high: Highest y; likewise.
        log: Whether y is logarithmic.
        note: A line below.
    """

    title: str
    curves: Sequence[ChartLine]
    x: str = "epoch"
    bounds: Sequence[Bound] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    note: str = ""
    drawn: list[ChartLine] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        for curve in self.curves:
            points = [
                (x, y) for x, y in curve.points if math.isfinite(y) and (y > 0 or not self.log)
            ]
            if points:
                self.drawn.append(
                    ChartLine(curve.name, _thinned(points), curve.colour, curve.step, curve.thin)
                )

    def __bool__(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.drawn)

    def svg(self) -> str:
        """The chart, as an element."""
        plane = _Plane(self)
        points = escape(script_json(self._told(plane)))
        parts = [
            f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" '
            f'aria-label="{escape(self.words())}" data-chart="{points}">'
        ]
        parts += plane.grid(self.x)
        for bound in self.bounds:
            if plane.low <= bound.value <= plane.high:
                y = plane.y(bound.value)
                parts += [_level("bound", y), _text(WIDTH - _RIGHT - 2, y - 4, "end", bound.words)]
        for curve in sorted(self.drawn, key=lambda one: not one.thin):
            thin = " thin" if curve.thin else ""
            parts.append(f'<path class="c{curve.colour % COLOURS}{thin}" d="{plane.path(curve)}"/>')
            if len(curve.points) == 1 or not (curve.thin or curve.step):
                x, y = curve.points[-1]
                parts.append(
                    f'<circle class="c{curve.colour % COLOURS}" cx="{plane.x(x):.1f}" '
                    f'cy="{plane.y(y):.1f}" r="3"/>'
                )
        parts.append(
            f'<line class="cursor" y1="{_TOP:g}" y2="{HEIGHT - _BOTTOM:g}" x1="-9" x2="-9"/></svg>'
        )
        return "".join(parts)

    def words(self) -> str:
        """What the chart shows, for who does not see it."""
        said = [
            f"{curve.name}: from {number(curve.points[0][1])} to {number(curve.points[-1][1])}"
            for curve in self.drawn
        ]
        return f"{self.title}, by {self.x}. {'; '.join(said)}"

    def _told(self, plane: _Plane) -> dict[str, Any]:
        """Points for the script: name, and x, y in data and x in the picture."""
        return {
            "x": self.x,
            "curves": [
                [
                    curve.name,
                    [[round(x, 6), number(y), round(plane.x(x), 1)] for x, y in curve.points],
                ]
                for curve in self.drawn
            ],
        }


class _Plane:
    """Places of values in the picture."""

    def __init__(self, chart: Chart) -> None:
        xs = [x for curve in chart.drawn for x, _ in curve.points]
        ys = [y for curve in chart.drawn for _, y in curve.points]
        self.log = chart.log
        self.first, self.last = min(xs), max(xs)
        if self.first == self.last:
            self.first, self.last = self.first - 0.5, self.last + 0.5
        low = min(ys) if chart.low is None else chart.low
        high = max(ys) if chart.high is None else chart.high
        if not high - low > 1e-9 * max(abs(low), abs(high)):  # flat, but for rounding
            room = max(0.5, 0.1 * abs(low))
            low, high = (low / 2, high * 2) if self.log else (low - room, high + room)
        if self.log:
            self.ticks = _decades(low, high)
            low, high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        else:
            self.ticks = _ticks(low, high)
            if chart.low is None:
                low = min(low, self.ticks[0])
            if chart.high is None:
                high = max(high, self.ticks[-1])
        self.low, self.high = low, high

    def x(self, value: float) -> float:
        inside = (value - self.first) / (self.last - self.first)
        return _LEFT + inside * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        inside = ((math.log(value) if self.log else value) - low) / (high - low)
        return HEIGHT - _BOTTOM - min(1.0, max(0.0, inside)) * (HEIGHT - _TOP - _BOTTOM)

    def path(self, curve: ChartLine) -> str:
        """The curve's line."""
        parts: list[str] = []
        before = 0.0
        for place, (x, y) in enumerate(curve.points):
            here = f"{self.x(x):.1f},{self.y(y):.1f}"
            if curve.step and place:
                parts.append(f"L{self.x(x):.1f},{self.y(before):.1f}")
            parts.append(("L" if place else "M") + here)
            before = y
        return "".join(parts)

    def grid(self, title: str) -> list[str]:
        """Lines and numbers of the axes."""
        parts = []
        for value in self.ticks:
            if self.low <= value <= self.high:
                y = self.y(value)
                parts += [_level("grid", y), _text(_LEFT - 6, y + 4, "end", number(value))]
        for value in _ticks(self.first, self.last):
            if self.first <= value <= self.last:
                parts.append(_text(self.x(value), HEIGHT - _BOTTOM + 15, "middle", number(value)))
        parts.append(_text((WIDTH + _LEFT - _RIGHT) / 2, HEIGHT - 4, "middle", title))
        return parts


def _level(kind: str, y: float) -> str:
    return (
        f'<line class="{kind}" x1="{_LEFT:g}" x2="{WIDTH - _RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
    )


def _text(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def number(value: float) -> str:
    """A number of three digits, as people write it."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 1000 and value == round(value):
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below ``low`` to above ``high``, some five."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten around a range, at most some six."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    step = max(1, (last - first) // 5)
    powers = [*range(first, last, step), last]
    return [10.0**n for n in (powers if last > first else [first, first + 1])]


def _thinned(points: Points) -> Points:
    """At most so many points, the last among them."""
    every = -(-len(points) // _MOST)
    return [one for n, one in enumerate(reversed(points)) if n % every == 0][::-1]


def bar(value: float, ends: Iterable[float] = ()) -> str:
    """A bar from 0 to 1 with its interval."""
    low_high = [min(1.0, max(0.0, end)) for end in ends]
    whisker = ""
    if low_high:
        low, high = (100 * end for end in low_high)
        whisker = (
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="5" y2="5"/>'
            f'<line x1="{low:.1f}" x2="{low:.1f}" y1="2" y2="8"/>'
            f'<line x1="{high:.1f}" x2="{high:.1f}" y1="2" y2="8"/>'
        )
    width = 100 * min(1.0, max(0.0, value))
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="ground" width="100" height="10"/><rect width="{width:.1f}" height="10"/>'
        f"{whisker}</svg>"
    )
