"""Plots as pictures: points, lines and colour maps between labelled axes.

Shapes: H W pixels; pictures are RGB, uint8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

INK, DIM, GRID, PAPER = (29, 33, 39), (104, 112, 124), (223, 227, 232), (255, 255, 255)
BLUE, ORANGE, GREEN, RED = (59, 120, 196), (217, 130, 43), (60, 157, 99), (192, 57, 43)

#: Side of the field between the axes, and the room around it for words [pixels].
FIELD, LEFT, RIGHT, TOP, BOTTOM = 280, 58, 14, 28, 46

#: Width of a colour bar with its words [pixels].
BAR = 78

#: Anchors of the colour scale, dark to bright: even steps look alike, and it stays readable without colour.
#: Source: viridis (matplotlib).
_SCALE = np.array(
    [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], dtype=np.float64
)


@dataclass(frozen=True)
class Span:
    """An axis: from where to where, and what is written beside it."""

    low: float
    high: float
    label: str

    def ticks(self, count: int = 5) -> list[float]:
        """Return round values inside."""
        width = (self.high - self.low) or 1.0
        raw = 10.0 ** math.floor(math.log10(width / count))
        size = next(raw * factor for factor in (1, 2, 5, 10) if width / (raw * factor) <= count)
        first = math.ceil(self.low / size - 1e-9)
        return [size * k for k in range(first, math.floor(self.high / size + 1e-9) + 1)]


def colours(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the colours of `values [...]` on a scale from `low` (dark) to `high` (bright), uint8 `[..., 3]`."""
    share = np.clip((values - low) / ((high - low) or 1.0), 0, 1) * (len(_SCALE) - 1)
    below = np.minimum(share.astype(int), len(_SCALE) - 2)
    part = (share - below)[..., None]
    return np.asarray((_SCALE[below] * (1 - part) + _SCALE[below + 1] * part).round(), dtype=np.uint8)


class Plot:
    """A square field between two axes, to be drawn into.

    Args:
        across: The axis to the right.
        up: The axis upwards.
        title: Above the field.
    """

    def __init__(self, across: Span, up: Span, title: str) -> None:
        self.across, self.up = across, up
        size = (LEFT + FIELD + RIGHT, TOP + FIELD + BOTTOM)
        self._image = Image.new("RGB", size, PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._draw.text((LEFT + FIELD / 2, 14), title, fill=INK, font=font(14), anchor="mm")
        for value in across.ticks():
            x = self._x(value)
            self._draw.line([(x, TOP), (x, TOP + FIELD)], fill=GRID)
            self._draw.text((x, TOP + FIELD + 5), written(value), fill=DIM, font=font(12), anchor="ma")
        for value in up.ticks():
            y = self._y(value)
            self._draw.line([(LEFT, y), (LEFT + FIELD, y)], fill=GRID)
            self._draw.text((LEFT - 6, y), written(value), fill=DIM, font=font(12), anchor="rm")
        below = (LEFT + FIELD / 2, TOP + FIELD + 32)
        self._draw.text(below, across.label, fill=INK, font=font(13), anchor="mm")
        self._image.paste(_upright(up.label), (2, TOP))

    def heat(self, values: np.ndarray, low: float, high: float) -> None:
        """Fill the field with a map `[P, Q]`: rows upwards, columns to the right, its outer points on the edges."""
        pixels = Image.fromarray(colours(values[::-1], low, high))
        # A point of the grid is the centre of its cell, and the outer centres lie on the field's edges.
        columns, rows = values.shape[1], values.shape[0]
        box = (0.5, 0.5, columns - 0.5, rows - 0.5)
        self._image.paste(pixels.resize((FIELD, FIELD), Image.Resampling.BILINEAR, box=box), (LEFT, TOP))

    def points(self, xs: np.ndarray, ys: np.ndarray, colour: Colour, radius: float = 2.0) -> None:
        """Draw dots; those outside of the axes stand at the edge."""
        for x, y in zip(xs, ys, strict=True):
            at = (
                self._x(min(max(x, self.across.low), self.across.high)),
                self._y(min(max(y, self.up.low), self.up.high)),
            )
            self._draw.ellipse([at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius], fill=colour)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], colour: Colour, width: int = 1
    ) -> None:
        """Draw a line between two points."""
        places = [(self._x(x), self._y(y)) for x, y in (start, end)]
        self._draw.line(places, fill=colour, width=width)

    def mark(self, x: float, y: float, kind: str) -> None:
        """Mark a point with a cross or a ring, white with a dark edge, so that it is seen on any colour."""
        at = np.array([self._x(x), self._y(y)])
        for colour, width in ((INK, 5), (PAPER, 2)):
            if kind == "cross":
                for way in (np.array([7, 7]), np.array([7, -7])):
                    self._draw.line([tuple(at - way), tuple(at + way)], fill=colour, width=width)
            else:
                reach = 6 + width / 2
                box = [*(at - reach), *(at + reach)]
                self._draw.ellipse(box, outline=colour, width=width)

    def picture(self) -> np.ndarray:
        """Return it, `[H, W, 3]`."""
        self._draw.rectangle([LEFT, TOP, LEFT + FIELD, TOP + FIELD], outline=DIM)
        return np.asarray(self._image)

    def _x(self, value: float) -> float:
        return LEFT + FIELD * (value - self.across.low) / ((self.across.high - self.across.low) or 1.0)

    def _y(self, value: float) -> float:
        return TOP + FIELD * (1 - (value - self.up.low) / ((self.up.high - self.up.low) or 1.0))


def colour_bar(low: float, high: float, label: str, height: int, top: int = 8, bottom: int = 8) -> np.ndarray:
    """Return a scale from `low` (below) to `high` (above) with what it measures, `[height, BAR, 3]`."""
    image = Image.new("RGB", (BAR, height), PAPER)
    draw = ImageDraw.Draw(image)
    length = height - top - bottom
    ramp = np.linspace(1, 0, length)[:, None].repeat(14, axis=1)
    image.paste(Image.fromarray(colours(ramp, 0, 1)), (4, top))
    for value, y in ((high, top), ((low + high) / 2, top + length // 2), (low, top + length - 1)):
        draw.line([(18, y), (21, y)], fill=DIM)
        draw.text((24, y), written(value), fill=DIM, font=font(11), anchor="lm")
    words = _upright(label, length)
    image.paste(words, (BAR - words.width, top))
    return np.asarray(image)


def beside(pictures: Sequence[np.ndarray], gap: int = 6) -> np.ndarray:
    """Join pictures of any height from left to right, their tops level."""
    height = max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    sheet = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for picture in pictures:
        sheet[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return sheet


def written(value: float) -> str:
    """Return a number in few digits."""
    return f"{value + 0.0:.3g}" if abs(value) > 1e-12 else "0"


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font."""
    return ImageFont.load_default(size)


def _upright(label: str, length: int = FIELD) -> Image.Image:
    words = Image.new("RGB", (length, 18), PAPER)
    ImageDraw.Draw(words).text((length / 2, 9), label, fill=INK, font=font(13), anchor="mm")
    return words.transpose(Image.Transpose.ROTATE_90)
