"""Curves of a run's figures as drawings (SVG) that need no library to be seen.

Legend: a series is a list of (step, value), by rising step; a band is a list of (step, low, high).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape

Point = tuple[float, float]

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 12, 28
COLOURS = 8

#: Points that a line has at most; of more the least and the largest of each stretch stay, so that spikes are seen.
MOST_POINTS = 400

#: Values that spread further than this factor are drawn on a logarithmic axis.
WIDE = 20.0

#: A line with as many points is drawn faint, its running mean over a share of them in front.
NOISY, MEAN_SHARE = 60, 0.04


@dataclass(frozen=True)
class Chart:
    """One drawing: what it is called, its series by name, and the intervals around some of them."""

    title: str
    series: Mapping[str, Sequence[Point]]
    bands: Mapping[str, Sequence[tuple[float, float, float]]] = field(default_factory=dict)


#: Headings of the report, and how the figures below each are told and put together: parts of names by chart.
_GROUPS: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...] = (
    ("Losses", (("loss", ("loss*",)), ("held-out error", ("val_*",)))),
    (
        "Health of the features",
        (
            ("spread (standard deviation)", ("*_std",)),
            ("effective rank", ("*_rank",)),
            ("distance of the target's weights", ("ema_distance",)),
        ),
    ),
    ("Online probe", (("error on unseen clips", ("probe_*",)),)),
    (
        "Optimisation",
        (
            ("gradient norm", ("gradient_norm*", "grad_norm*")),
            ("learning rate", ("lr*",)),
            ("weight decay", ("weight_decay",)),
            ("momentum", ("*momentum",)),
        ),
    ),
    (
        "Speed",
        (
            ("throughput", ("*_per_s",)),
            ("shares of time and machine", ("wait_fraction", "matrix_share")),
        ),
    ),
)


def grouped(lines: Sequence[Mapping[str, float]]) -> dict[str, list[Chart]]:
    """Return charts of all figures of a log, under headings; figures of no known kind are charts of their own."""
    series: dict[str, list[Point]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(name, []).append((float(line["step"]), float(value)))
    found: dict[str, list[Chart]] = {}
    for heading, charts in _GROUPS:
        for title, patterns in charts:
            taken = {name: series.pop(name) for name in list(series) if _matches(name, patterns)}
            if taken:
                found.setdefault(heading, []).append(Chart(title, taken))
    if series:
        found["Other figures"] = [Chart(name, {name: points}) for name, points in series.items()]
    return found


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for pattern in patterns)


def is_logarithmic(chart: Chart) -> bool:
    """Return whether all values are positive and most of them spread further than a linear axis shows."""
    values = sorted(value for points in chart.series.values() for _, value in points)
    if not values or min([values[0], *(low for band in chart.bands.values() for _, low, _ in band)]) <= 0:
        return False
    low, high = (values[round(share * (len(values) - 1))] for share in (0.02, 0.98))
    return high / low > WIDE


def svg(chart: Chart) -> str:
    """Return the chart as an inline drawing, colours left to the page's style; what is not finite is left out."""
    chart = _finite(chart)
    if not any(chart.series.values()):
        return (
            f'<svg viewBox="0 0 {WIDTH} 40" role="img"><text x="{LEFT}" y="24">nothing to draw</text></svg>'
        )
    logarithmic = is_logarithmic(chart)
    values = [v for points in chart.series.values() for _, v in points]
    values += [end for band in chart.bands.values() for _, *ends in band for end in ends]
    axis = _Axis.over(values, logarithmic)
    steps = _Axis.over([s for points in chart.series.values() for s, _ in points], False, margin=0.0)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)} over steps">',
        *_grid(axis, steps),
    ]
    for number, (name, points) in enumerate(chart.series.items()):
        colour = f"c{number % COLOURS}"
        if name in chart.bands:
            parts.append(_band(chart.bands[name], axis, steps, colour))
        front = _running_mean(points)
        faint = " faint" if front is not points else ""
        parts.append(_line(_thinned(points), axis, steps, colour + faint))
        if faint:
            parts.append(_line(_thinned(front), axis, steps, colour))
    return "".join([*parts, "</svg>"])


def _finite(chart: Chart) -> Chart:
    """Return the chart without the points that have no place on it."""
    series = {
        name: [point for point in points if all(map(math.isfinite, point))]
        for name, points in chart.series.items()
    }
    bands = {
        name: [part for part in band if all(map(math.isfinite, part))] for name, band in chart.bands.items()
    }
    return replace(chart, series=series, bands={name: band for name, band in bands.items() if band})


@dataclass(frozen=True)
class _Axis:
    """A range of values, and which of them are written."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def over(cls, values: Sequence[float], logarithmic: bool, margin: float = 0.06) -> _Axis:
        low, high = (
            (math.log10(min(values)), math.log10(max(values))) if logarithmic else (min(values), max(values))
        )
        room = margin * (high - low) or (0.0 if high > low else max(abs(high) * 0.1, 1e-3))
        bottom = 0.0 if not logarithmic and margin and 0 <= low < 0.3 * high else low - room
        return cls(bottom, high + room, logarithmic)

    def place(self, value: float) -> float:
        """Return where a value stands, from 0 to 1."""
        shown = math.log10(value) if self.logarithmic else value
        return (shown - self.low) / (self.high - self.low)

    def ticks(self, count: int) -> list[float]:
        """Return round values inside."""
        if self.logarithmic:
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            factors = (1, 2, 5) if self.high - self.low < 2 else (1,)
            values = [factor * 10.0**decade for decade in decades for factor in factors]
            inside = [value for value in values if self.low <= math.log10(value) <= self.high]
            return inside[:: max(math.ceil(len(inside) / (count + 2)), 1)]
        span = self.high - self.low
        raw = 10.0 ** math.floor(math.log10(span / count))
        size = next(raw * factor for factor in (1, 2, 5, 10) if span / (raw * factor) <= count)
        first = math.ceil(self.low / size)
        return [size * (first + k) for k in range(math.floor(self.high / size) - first + 1)]


def _grid(axis: _Axis, steps: _Axis) -> list[str]:
    parts = []
    for value in axis.ticks(5):
        y = _y(axis, value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{_written(value)}</text>')
    for value in steps.ticks(6):
        x = _x(steps, value)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{_written(value)}</text>')
    return parts


def _line(points: Sequence[Point], axis: _Axis, steps: _Axis, style: str) -> str:
    places = [f"{_x(steps, step):.1f},{_y(axis, value):.1f}" for step, value in points]
    if len(places) == 1:
        x, y = places[0].split(",")
        return f'<circle class="dot {style}" cx="{x}" cy="{y}" r="3"/>'
    return f'<polyline class="{style}" points="{" ".join(places)}"/>'


def _band(band: Sequence[tuple[float, float, float]], axis: _Axis, steps: _Axis, style: str) -> str:
    there = [(step, low) for step, low, _ in band] + [(step, high) for step, _, high in reversed(band)]
    places = [f"{_x(steps, step):.1f},{_y(axis, value):.1f}" for step, value in there]
    return f'<polygon class="band {style}" points="{" ".join(places)}"/>'


def _x(steps: _Axis, step: float) -> float:
    return LEFT + steps.place(step) * (WIDTH - LEFT - RIGHT)


def _y(axis: _Axis, value: float) -> float:
    return HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM)


def _running_mean(points: Sequence[Point]) -> Sequence[Point]:
    """Return the mean over the neighbours of each point, or the points themselves where they are few."""
    if len(points) < NOISY:
        return points
    half = max(round(MEAN_SHARE * len(points)) // 2, 1)
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    # As many on both sides: the line starts and ends where the figures do.
    halves = [min(half, k, len(points) - 1 - k) for k in range(len(points))]
    ends = [(k - around, k + around + 1) for k, around in enumerate(halves)]
    return [
        (points[k][0], (sums[last] - sums[first]) / (last - first)) for k, (first, last) in enumerate(ends)
    ]


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return the least and the largest point of each stretch, where there are too many to draw."""
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil(2 * len(points) / MOST_POINTS)
    kept = []
    for first in range(0, len(points), size):
        stretch = points[first : first + size]
        ends = {min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def _written(value: float) -> str:
    if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.6g}".replace(",", "\N{THIN SPACE}")
