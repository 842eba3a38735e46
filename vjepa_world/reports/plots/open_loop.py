"""Plots of an open-loop evaluation: energy over two axes of the action, planned over true actions, directions.

Legend: W windows, A action size, P points of a grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vjepa_world.planning.action_axes import Axis
from vjepa_world.reports.theme import LIGHT, SERIES, new_figure, require, style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Size of a plot [pixels].
WIDTH, HEIGHT = 380, 330

#: White in both themes: not the exact white that stands for the page's paper.
_WHITE = "#fefefe"


@dataclass(frozen=True, eq=False)
class EnergyPlane:
    """The energy over two axes of the action.

    Attributes:
        across: Values of the axis to the right, `[P]`, in the units in which they are shown.
        up: Values of the axis upwards, `[P]`.
        energy: `[P, P]`, a row for each value of `up`.
        true: The true action on the two axes.
        axes: The axis to the right and the one upwards.
    """

    across: np.ndarray
    up: np.ndarray
    energy: np.ndarray
    true: tuple[float, float]
    axes: tuple[Axis, Axis]

    @property
    def lowest(self) -> tuple[float, float]:
        """The point of the grid where the energy is lowest."""
        row, column = divmod(int(self.energy.argmin()), self.energy.shape[1])
        return float(self.across[column]), float(self.up[row])


def plot_energy_planes(planes: Sequence[EnergyPlane], name: str) -> list[str]:
    """Return the planes of one window as SVG on one colour scale.

    A cross is the true action, a ring the lowest energy.
    """
    require("matplotlib")
    from matplotlib.patheffects import withStroke

    low = min(float(plane.energy.min()) for plane in planes)
    high = max(float(plane.energy.max()) for plane in planes)
    drawings: list[str] = []
    for plane in planes:
        first, second = plane.axes
        title = f"{name}: {first.name}-{second.name}"
        with _plot(drawings, title, first.label, second.label) as axes:
            # A point of the grid is the middle of its pixel, and the outer points lie on the edges of the plot.
            half = [(at[-1] - at[0]) / (len(at) - 1) / 2 for at in (plane.across, plane.up)]
            ends = [(at[0] - h, at[-1] + h) for at, h in zip((plane.across, plane.up), half, strict=True)]
            heat = axes.imshow(
                plane.energy,
                extent=(*ends[0], *ends[1]),
                origin="lower",
                aspect="auto",
                interpolation="bilinear",
                vmin=low,
                vmax=high,
            )
            axes.grid(visible=False)
            axes.set(xlim=plane.across[[0, -1]], ylim=plane.up[[0, -1]])
            for point, marker, size in ((plane.lowest, "o", 9), (plane.true, "x", 10)):
                axes.plot(
                    *point,
                    marker,
                    color=_WHITE,
                    markerfacecolor="none",
                    ms=size,
                    mew=2,
                    clip_on=False,
                    path_effects=[withStroke(linewidth=5, foreground="black")],
                )
            axes.figure.colorbar(heat, ax=axes, label="energy", pad=0.02)
    return drawings


def plot_planned_actions(true: np.ndarray, planned: np.ndarray, axes: Sequence[Axis]) -> list[str]:
    """Return planned over true actions `[W, A]` (in the data's units) as SVG, one for each axis; a line is equality."""
    drawings: list[str] = []
    for column, axis in enumerate(axes):
        x, y = true[:, column] * axis.scale, planned[:, column] * axis.scale
        reach = 1.05 * float(np.abs(np.concatenate([x, y])).max()) or 1.0
        with _plot(drawings, axis.name, f"true {axis.label}", f"planned {axis.label}") as plot:
            plot.plot([-reach, reach], [-reach, reach], color=LIGHT["dim"], linewidth=1)
            plot.plot(x, y, "o", color=SERIES[0], ms=4, gid="actions")
            plot.set(xlim=(-reach, reach), ylim=(-reach, reach))
    return drawings


def plot_directions(true_m: np.ndarray, planned_m: np.ndarray, angle_deg: float) -> list[str]:
    """Return planned motions in x and y `[W, 2]` [m] as SVG, each turned so that its true motion points to the right.

    If the directions agree, the points lie around the line to the right; a cloud around another line means a rotated
    camera. The fitted rotation `angle_deg` is drawn as a second line.
    """
    true, planned = true_m[:, 0] + 1j * true_m[:, 1], planned_m[:, 0] + 1j * planned_m[:, 1]
    moved = np.abs(true) > 0
    relative = 100 * planned[moved] * np.conj(true[moved]) / np.abs(true[moved])
    reach = 1.05 * float(np.abs(relative).max()) if len(relative) else 1.0
    # `angle_deg` turns planned motions into true ones, so planned ones lie at its negative.
    fitted = reach * np.exp(-1j * np.deg2rad(angle_deg))
    drawings: list[str] = []
    with _plot(drawings, "planned motions", "along the true motion [cm]", "to its left [cm]") as plot:
        plot.plot([0, reach], [0, 0], color=SERIES[2], linewidth=2.5)
        plot.plot([0, fitted.real], [0, fitted.imag], color=SERIES[1], linewidth=2.5)
        plot.plot(relative.real, relative.imag, "o", color=SERIES[0], ms=4, gid="motions")
        plot.set(xlim=(-reach, reach), ylim=(-reach, reach))
    return drawings


@contextmanager
def _plot(drawings: list[str], title: str, across: str, up: str) -> Iterator[Axes]:
    """Give axes to draw into, and append their SVG to `drawings`."""
    with style():
        figure = new_figure(WIDTH, HEIGHT)
        axes = figure.add_subplot(title=title, xlabel=across, ylabel=up)
        axes.locator_params(nbins=5)
        yield axes
        drawings.append(to_svg(figure, f"{title}: {up} over {across}"))
