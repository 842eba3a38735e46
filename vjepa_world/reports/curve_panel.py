"""Curves in time as a picture: a panel with axes, a unit and a legend, drawn with lines alone.

Shapes: T points of a curve, H W pixels; pictures are RGB, uint8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

#: Told apart by most eyes (Okabe and Ito), on white.
COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (90, 90, 90),
    (150, 110, 60),
)

WHITE, TEXT, DIM, GRID, MARK = (
    (255, 255, 255),
    (30, 33, 38),
    (110, 116, 124),
    (228, 230, 234),
    (176, 182, 190),
)

#: Everything is drawn this much larger and then made smaller, which smooths the lines.
_FINER = 2


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Some curves over the same axis.

    Attributes:
        title: What they are.
        unit: Of their values.
        names: One for each curve.
        times_s: `[T]`.
        values: `[T, curves]`.
        held: Whether a value holds until the next, as an action does, and is drawn as a step.
        shown: Values that the axis reaches in any case.
        least: Least extent of the axis, so that noise does not fill it.
    """

    title: str
    unit: str
    names: Sequence[str]
    times_s: np.ndarray
    values: np.ndarray
    held: bool = False
    shown: tuple[float, ...] = ()
    least: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """Where times are, from left to right.

    Attributes:
        left: First pixel of the axis.
        right: Last pixel.
        end_s: The time there; it begins at 0.
    """

    left: int
    right: int
    end_s: float

    def x(self, time_s: float) -> float:
        """Return the pixel of a time."""
        return self.left + (self.right - self.left) * time_s / self.end_s


def draw_panel(
    panel: Panel, axis: TimeAxis, size: tuple[int, int], marks_s: Sequence[float] = (), clock: bool = False
) -> np.ndarray:
    """Return a panel as a picture, `[H, W, 3]`.

    Args:
        panel: What to draw.
        axis: Where times are.
        size: Its width and height [pixels]; left of the axis are the values, right of it the legend.
        marks_s: Times at which a thin line goes through, those of pictures above.
        clock: Whether times are written under it.
    """
    width, height = size
    image = Image.new("RGB", (width * _FINER, height * _FINER), WHITE)
    draw = _Scaled(ImageDraw.Draw(image))
    top, bottom = 22, height - (24 if clock else 8)
    low, high, ticks = _ticks(panel)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / (high - low)

    for tick in ticks:
        draw.line([(axis.left, y(tick)), (axis.right, y(tick))], GRID)
        draw.text((axis.left - 6, y(tick)), _number(tick, ticks), DIM, 11, "rm")
    for mark in marks_s:
        draw.line([(axis.x(mark), top), (axis.x(mark), bottom)], MARK)
    draw.line([(axis.left, top), (axis.left, bottom), (axis.right, bottom)], DIM)
    draw.text((axis.left, 10), panel.title + (f"  [{panel.unit}]" if panel.unit else ""), TEXT, 12, "lm")
    for place, (name, curve) in enumerate(zip(panel.names, panel.values.T, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        # Thinner and thinner, so that one that lies under another is still seen.
        draw.line(_points(panel, curve, axis, y), colour, max(1.5, 3.5 - place))
        row = top + 6 + 15 * place
        draw.line([(axis.right + 12, row), (axis.right + 28, row)], colour, 3)
        draw.text((axis.right + 34, row), name, TEXT, 11, "lm")
    if clock:
        for time in _clock(axis.end_s):
            draw.line([(axis.x(time), bottom), (axis.x(time), bottom + 4)], DIM)
            draw.text((axis.x(time), bottom + 13), f"{time:g}", DIM, 11, "mm")
        draw.text((axis.right + 12, bottom + 13), "seconds", DIM, 11, "lm")
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def draw_text(text: str, left: int, size: tuple[int, int], points: int = 13) -> np.ndarray:
    """Return a line of text from `left` on as a picture `[H, W, 3]` of size (width, height), cut at its end."""
    image = Image.new("RGB", size, WHITE)
    ImageDraw.Draw(image).text((left, size[1] / 2), text, fill=TEXT, font=_font(points), anchor="lm")
    return np.asarray(image)


def draw_links(above: Sequence[float], below: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """Return thin lines from places above [pixels] to places below as a picture `[H, W, 3]` of size (width, height)."""
    image = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), WHITE)
    draw = _Scaled(ImageDraw.Draw(image))
    for top, bottom in zip(above, below, strict=True):
        draw.line([(top, 0), (bottom, size[1])], MARK)
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


class _Scaled:
    """Draws in the picture's own pixels on one that is larger."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def line(
        self, points: Sequence[tuple[float, float]], colour: tuple[int, int, int], width: float = 1
    ) -> None:
        scaled = [(x * _FINER, y * _FINER) for x, y in points]
        self._draw.line(scaled, fill=colour, width=round(width * _FINER), joint="curve")

    def text(
        self, place: tuple[float, float], text: str, colour: tuple[int, int, int], points: int, anchor: str
    ) -> None:
        where = (place[0] * _FINER, place[1] * _FINER)
        self._draw.text(where, text, fill=colour, font=_font(points * _FINER), anchor=anchor)


def _points(
    panel: Panel, curve: np.ndarray, axis: TimeAxis, y: Callable[[float], float]
) -> list[tuple[float, float]]:
    times, values = panel.times_s.tolist(), curve.tolist()
    if panel.held:
        ends = [*times[1:], axis.end_s]
        times = [time for pair in zip(times, ends, strict=True) for time in pair]
        values = [value for value in values for _ in (0, 1)]
    return [(axis.x(time), y(value)) for time, value in zip(times, values, strict=True)]


def _ticks(panel: Panel) -> tuple[float, float, list[float]]:
    """Return the ends of a panel's axis, and the round values on it."""
    values = np.concatenate([panel.values.ravel(), np.asarray(panel.shown, dtype=np.float64)])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    missing = max(panel.least, 1e-9 * max(1.0, abs(high))) - (high - low)
    if missing > 0:
        low, high = low - missing / 2, high + missing / 2
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin
    step = _round_step((high - low) / 4)
    first = math.ceil(low / step)
    return low, high, [place * step for place in range(first, math.floor(high / step) + 1)]


def _round_step(least: float) -> float:
    """Return the next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _number(value: float, ticks: Sequence[float]) -> str:
    step = ticks[1] - ticks[0] if len(ticks) > 1 else abs(value) or 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if digits > 5 or step >= 1e5:
        return f"{value:.2g}"
    return f"{value if abs(value) > step / 2 else 0.0:.{digits}f}"  # -0.0 is no number that people write


def _clock(end_s: float) -> list[float]:
    step = _round_step(end_s / 10)
    return [round(place * step, 6) for place in range(int(end_s / step + 1e-6) + 1)]


def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)
