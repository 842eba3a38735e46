"""Plots of an evaluation in closed loop: rates with intervals, and energy over distance.

Legend: M observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vjepa_world.reports.theme import LIGHT, SERIES, new_figure, style, to_svg

#: Width of a plot, height of a line of rates, and of what is around them [pixels].
WIDTH, LINE, MARGIN = 400, 24, 60

#: Points that are drawn, at most.
MAX_POINTS = 3000


@dataclass(frozen=True)
class Rate:
    """A line: a success rate in [0, 1] with its interval, of a number of episodes."""

    name: str
    episodes: int
    rate: float
    low: float
    high: float


def plot_rates(title: str, rates: Sequence[Rate]) -> str:
    """Return success rates with their intervals as SVG, one below the other."""
    with style():
        figure = new_figure(WIDTH, MARGIN + LINE * len(rates))
        axes = figure.add_subplot(title=title, xlabel="success [%]")
        at = np.arange(len(rates))[::-1]
        for y, entry in zip(at, rates, strict=True):
            axes.plot([100 * entry.low, 100 * entry.high], [y, y], color=SERIES[0], linewidth=5, alpha=0.3)
            axes.plot(100 * entry.rate, y, "o", color=SERIES[0], ms=7)
        axes.set_yticks(at, [f"{entry.name} ({entry.episodes})" for entry in rates])
        axes.tick_params(axis="y", labelcolor=LIGHT["ink"], length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="y", visible=False)
        axes.set(xlim=(-3, 103), ylim=(-0.6, len(rates) - 0.4))
        return to_svg(figure, f"{title}: success rates of {', '.join(entry.name for entry in rates)}")


def plot_energy_over_distance(
    distances: np.ndarray, energies: np.ndarray, reached: np.ndarray, label: str
) -> str:
    """Return energies over distances to the goal as SVG.

    Args:
        distances: Of observations, `[M]`.
        energies: The same, `[M]`.
        reached: Whether each is from an episode that reached its goal, bool `[M]`.
        label: Of the axis of distances.
    """
    shown = np.linspace(0, len(distances) - 1, min(MAX_POINTS, len(distances))).astype(int)
    with style():
        figure = new_figure(WIDTH, 330)
        axes = figure.add_subplot(title="energy of each observation", xlabel=label, ylabel="energy")
        for name, colour, of_group in (("reached", SERIES[2], reached), ("missed", LIGHT["alarm"], ~reached)):
            picked = shown[of_group[shown]]
            axes.plot(
                distances[picked], energies[picked], "o", color=colour, ms=3, alpha=0.5, label=name, mew=0
            )
        axes.set(xlim=(0, None))
        axes.legend(frameon=False, markerscale=2, labelcolor=LIGHT["ink"])
        return to_svg(figure, "energy over distance to the goal")
