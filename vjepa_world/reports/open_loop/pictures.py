"""Pictures of an open loop: film strips of what was seen and what was imagined, landscapes, actions found.

Legend: W windows, T = K + 1 frames, N = rows * columns tokens, D width, s pixels, P points of a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vjepa_world.evaluation.action_axes import Axis
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.reports.plot_panel import (
    BLUE,
    BOTTOM,
    DIM,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    TOP,
    Plot,
    Span,
    beside,
    colour_bar,
    colours,
    font,
)

#: Height of a frame in a strip, width of the words at its left, height of the line above, and the gaps [pixels].
TILE, WORDS, HEAD, GAP = 104, 128, 22, 4

#: Frames of a strip, at most.
MOST_FRAMES = 9


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a strip: what it shows, and its pictures, uint8 `[H, W, 3]`; None leaves a place empty."""

    name: str
    pictures: Sequence[np.ndarray | None]


def film_strip(head: Sequence[str], rows: Sequence[Row], error_scale: tuple[float, float]) -> np.ndarray:
    """Return rows of pictures under a line of words, the scale of the error maps at the right."""
    shape = next(picture.shape for row in rows for picture in row.pictures if picture is not None)
    width = round(TILE * shape[1] / shape[0])
    size = (WORDS + len(head) * (width + GAP), HEAD + len(rows) * (TILE + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, words in enumerate(head):
        at = (WORDS + column * (width + GAP) + width / 2, HEAD / 2)
        draw.text(at, words, fill=DIM, font=font(12), anchor="mm")
    for down, row in enumerate(rows):
        top = HEAD + down * (TILE + GAP)
        draw.multiline_text((0, top + TILE / 2), row.name, fill=INK, font=font(12), anchor="lm", spacing=3)
        for column, picture in enumerate(row.pictures):
            if picture is not None:
                place = (WORDS + column * (width + GAP), top)
                sheet.paste(Image.fromarray(picture).resize((width, TILE), _smooth(picture)), place)
    bar = colour_bar(*error_scale, "L1 error of a token", sheet.height, top=HEAD + 8, bottom=12)
    return beside([np.asarray(sheet), bar])


def _smooth(picture: np.ndarray) -> Image.Resampling:
    """Maps of tokens keep their edges, pictures are smoothed."""
    return Image.Resampling.NEAREST if picture.shape[0] < TILE // 4 else Image.Resampling.BICUBIC


def shown_frames(frames: int) -> list[int]:
    """Return which frames of a window are drawn: all, or evenly spaced ones with the first and the last."""
    return sorted({round(float(k)) for k in np.linspace(0, frames - 1, min(frames, MOST_FRAMES))})


def picture_row(name: str, pictures: Tensor, first: int = 0) -> Row:
    """Return a row of pictures `[M, 3, H, W]` uint8, after `first` empty places."""
    return Row(name, [*[None] * first, *(picture.permute(1, 2, 0).numpy() for picture in pictures)])


def error_row(name: str, errors: Tensor, grid: tuple[int, int], scale: tuple[float, float]) -> Row:
    """Return the errors of tokens `[M, N]` as maps, after the empty place of the first frame."""
    maps = errors.unflatten(1, grid).numpy()
    return Row(name, [None, *(colours(plane, *scale) for plane in maps)])


def nearest_frames(imagined: Tensor, windows: Windows) -> Tensor:
    """Return, for imagined features `[M, N, D]`, the real frame of any window whose features are nearest in L1.

    The frames that were to be imagined are among them. `[M, 3, H, W]` uint8.
    """
    shape = windows.features.shape[:2]
    found = []
    for features in imagined:
        distance = torch.stack([(window - features).abs().mean(dim=(1, 2)) for window in windows.features])
        place = int(distance.flatten().argmin())
        found.append(windows.frames[place // shape[1], place % shape[1]])
    return torch.stack(found)


@dataclass(frozen=True, eq=False)
class Plane:
    """A landscape over two axes: the actions `[P]` along each, in the units they are shown in, energies `[P, P]`."""

    across: np.ndarray
    up: np.ndarray
    energy: np.ndarray
    true: tuple[float, float]
    axes: tuple[Axis, Axis]

    @property
    def lowest(self) -> tuple[float, float]:
        """Where the energy is lowest on the grid."""
        row, column = divmod(int(self.energy.argmin()), self.energy.shape[1])
        return float(self.across[column]), float(self.up[row])


def landscape_picture(planes: Sequence[Plane], name: str) -> np.ndarray:
    """Return landscapes of one window side by side, one colour scale for all; a cross is the true action."""
    low = min(float(plane.energy.min()) for plane in planes)
    high = max(float(plane.energy.max()) for plane in planes)
    plots = []
    for plane in planes:
        across, up = (
            Span(float(at[0]), float(at[-1]), axis.label)
            for at, axis in zip((plane.across, plane.up), plane.axes, strict=True)
        )
        plot = Plot(across, up, f"{name}: {plane.axes[0].name}-{plane.axes[1].name}")
        plot.heat(plane.energy, low, high)
        plot.mark(*plane.lowest, "ring")
        plot.mark(*plane.true, "cross")
        plots.append(plot.picture())
    height = plots[0].shape[0]
    return beside([*plots, colour_bar(low, high, "energy", height, top=TOP, bottom=BOTTOM)], gap=18)


def scatter_picture(true: np.ndarray, planned: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    """Return planned over true actions `[W, A]` (in the data's units), a plot an axis, equality as a line."""
    plots = []
    for column, axis in enumerate(axes):
        x, y = true[:, column] * axis.scale, planned[:, column] * axis.scale
        reach = 1.05 * float(np.abs(np.concatenate([x, y])).max()) or 1.0
        plot = Plot(
            Span(-reach, reach, f"true {axis.label}"), Span(-reach, reach, f"planned {axis.label}"), axis.name
        )
        plot.line((-reach, -reach), (reach, reach), DIM)
        plot.points(x, y, BLUE)
        plots.append(plot.picture())
    return beside(plots, gap=18)


def direction_picture(true_m: np.ndarray, planned_m: np.ndarray, angle_deg: float) -> np.ndarray:
    """Return planned motions in x and y `[W, 2]` [m], each turned so that its true motion points to the right.

    Dots around the line to the right are right; a cloud around another line is a turned camera. The fitted rotation is
    drawn as well.
    """
    true, planned = true_m[:, 0] + 1j * true_m[:, 1], planned_m[:, 0] + 1j * planned_m[:, 1]
    moved = np.abs(true) > 0
    relative = 100 * planned[moved] * np.conj(true[moved]) / np.abs(true[moved])
    reach = 1.05 * float(np.abs(relative).max()) if len(relative) else 1.0
    along, side = Span(-reach, reach, "along the true motion [cm]"), Span(-reach, reach, "to its left [cm]")
    plot = Plot(along, side, "planned motions")
    plot.line((0, 0), (reach, 0), GREEN, 2)
    # What carries planned to true is the turn back.
    mean = reach * np.exp(-1j * np.deg2rad(angle_deg))
    plot.points(relative.real, relative.imag, BLUE)
    plot.line((0, 0), (float(mean.real), float(mean.imag)), ORANGE, 2)
    return plot.picture()
