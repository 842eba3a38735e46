"""Curves of measured values as SVG drawings.

Legend: a series is a list of (step, value), by rising step; a band is a list of (step, low, high).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from vjepa_world.reports.theme import SERIES, new_figure, style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]
Interval = tuple[float, float, float]

#: Size of a drawing [pixels].
WIDTH, HEIGHT = 400, 220

#: A line has at most this many points. Longer lines keep the minimum and maximum of each bin, so that spikes show.
MAX_POINTS = 400

#: Values that spread by more than this factor get a logarithmic axis.
LOGARITHMIC_SPREAD = 20.0

#: A line of at least NOISY points is drawn faint, with its running mean over this share of them in front.
NOISY, MEAN_SHARE = 60, 0.04


@dataclass(frozen=True)
class Chart:
    """One drawing: its title, its series by name, and the intervals around some of them."""

    title: str
    series: Mapping[str, Sequence[Point]]
    bands: Mapping[str, Sequence[Interval]] = field(default_factory=dict)

    @property
    def is_logarithmic(self) -> bool:
        """Whether all values are positive and most of them spread further than a linear axis shows."""
        values = sorted(value for points in self.series.values() for _, value in points)
        lows = [low for band in self.bands.values() for _, low, _ in band]
        if not values or min([values[0], *lows]) <= 0:
            return False
        low, high = (values[round(share * (len(values) - 1))] for share in (0.02, 0.98))
        return high / low > LOGARITHMIC_SPREAD

    @property
    def legend(self) -> list[tuple[str, str, float | None]]:
        """Name, CSS variable of the colour and last value (None without one) of each series."""
        return [
            (name, f"series-{number % len(SERIES)}", points[-1][1] if points else None)
            for number, (name, points) in enumerate(self.series.items())
        ]

    @property
    def svg(self) -> str:
        """The drawing; points that are not finite are left out, and it is empty where none remains."""
        return draw(self)


def draw(chart: Chart) -> str:
    """Return the SVG element of a chart; empty where it has no finite point."""
    chart = _finite(chart)
    if not any(chart.series.values()):
        return ""
    with style():
        figure = new_figure(WIDTH, HEIGHT)
        axes = figure.add_subplot()
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", visible=False)
        axes.tick_params(length=0)
        for number, (name, points) in enumerate(chart.series.items()):
            _draw_series(axes, points, chart.bands.get(name, ()), number)
        _scale_axes(axes, chart)
        return to_svg(figure, f"{chart.title}: {', '.join(chart.series)}")


def _draw_series(axes: Axes, points: Sequence[Point], band: Sequence[Interval], number: int) -> None:
    colour = SERIES[number % len(SERIES)]
    if band:
        steps, low, high = np.array(band).T
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0, gid=f"band-{number}")
    is_noisy = len(points) >= NOISY
    alpha, width = (0.28, 1.0) if is_noisy else (1.0, 1.8)
    (line,) = axes.plot(
        *_columns(thinned(points)), color=colour, alpha=alpha, linewidth=width, gid=f"line-{number}"
    )
    if len(points) == 1:
        line.set(marker="o", markersize=5)
    if is_noisy:
        axes.plot(*_columns(thinned(running_mean(points))), color=colour, linewidth=1.8, gid=f"mean-{number}")


def _columns(points: Sequence[Point]) -> np.ndarray:
    """Return points as steps and values, `[2, number of points]`."""
    return np.array(points, dtype=np.float64).reshape(-1, 2).T


def _scale_axes(axes: Axes, chart: Chart) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    steps = [1, 2, 2.5, 5, 10]
    axes.margins(x=0.02, y=0.06)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=steps, integer=_has_whole_steps(chart)))
    if chart.is_logarithmic:
        axes.set_yscale("log")
        low, high = axes.dataLim.intervaly
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1.0, 2.0, 5.0) if high < 200 * low else (1.0,), numticks=6)
        )
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        return
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=steps))
    low, high = axes.dataLim.intervaly
    if 0 <= low < 0.3 * high:
        axes.set_ylim(bottom=0.0)


def _has_whole_steps(chart: Chart) -> bool:
    """Return whether all steps are whole numbers."""
    return all(float(step).is_integer() for points in chart.series.values() for step, _ in points)


def _finite(chart: Chart) -> Chart:
    """Return the chart without points and intervals that are not finite."""
    series = {
        name: [point for point in points if all(map(math.isfinite, point))]
        for name, points in chart.series.items()
    }
    bands = {
        name: [interval for interval in band if all(map(math.isfinite, interval))]
        for name, band in chart.bands.items()
    }
    return replace(chart, series=series, bands=bands)


def running_mean(points: Sequence[Point]) -> list[Point]:
    """Return the mean over the neighbours of each point, as many on both sides, so that the ends stay."""
    steps, values = _columns(points)
    count = len(values)
    half = max(round(MEAN_SHARE * count) // 2, 1)
    sums = np.concatenate([[0.0], values.cumsum()])
    index = np.arange(count)
    around = np.minimum(half, np.minimum(index, count - 1 - index))
    means = (sums[index + around + 1] - sums[index - around]) / (2 * around + 1)
    return list(zip(steps.tolist(), means.tolist(), strict=True))


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Return the least and the largest point of each stretch, where there are more than :data:`MAX_POINTS`."""
    if len(points) <= MAX_POINTS:
        return points
    size = math.ceil(2 * len(points) / MAX_POINTS)
    remaining: list[Point] = []
    for first in range(0, len(points), size):
        stretch = points[first : first + size]
        remaining += sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    return remaining
