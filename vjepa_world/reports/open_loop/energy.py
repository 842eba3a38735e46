"""The part of an open loop's report about the energy around the true action.

Legend: W windows, P points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vjepa_world.evaluation.open_loop.assessment import format_estimate
from vjepa_world.evaluation.open_loop.energy_landscape import AxisLandscape, plane_landscape
from vjepa_world.evaluation.open_loop.measurements import Measurements
from vjepa_world.reports import page as html
from vjepa_world.reports.open_loop.pictures import Plane, landscape_picture
from vjepa_world.reports.open_loop.strips import Shown
from vjepa_world.reports.training_curves import Chart

#: Planes that landscapes are drawn over, as places in an action; and the points of each along a side.
PLANES, POINTS = ((0, 1), (0, 2)), 25

#: Offsets at which the mean landscape along an axis is drawn.
OFFSETS = 21


def energy_section(measured: Measurements, material: Shown) -> str:
    """Return rank correlations, the mean landscape along each axis, and single ones over two."""
    ranks, offsets = measured.metrics["rank_correlation"], measured.metrics["valley_offset"]
    rows = [[name, format_estimate(figure)] for name, figure in _rank_rows(ranks)]
    for (name, offset), row in zip(offsets.items(), rows[len(rows) - len(offsets) :], strict=True):
        assert row[0].startswith(name)
        row += [
            format_estimate(offset["median"], ".2f", f" {offset['unit']}".rstrip()),
            f"{offset['absolute_median']:.2f} {offset['unit']}",
        ]
    head = [
        "what varies",
        "rank correlation with the distance",
        "lowest point off the truth, median",
        "absolute",
    ]
    words = (
        "The energy is that which the planner minimises: the distance of the imagined next frame to the true next one. "
        "It should be lowest at the true action and rise with the distance to it (rank correlation 1). Curves: the "
        "energy above that of the true action, over the offset from it, the mean and its 95 % interval over windows."
    )
    nothing = html.paragraph(NOTHING_VARIES, "dim") if ranks["all_axes"] is None else ""
    if not rows:
        return nothing
    return (
        nothing
        + html.paragraph(words, "dim")
        + html.table(rows, head)
        + _axis_cards(measured, material)
        + _planes(material)
    )


def _rank_rows(ranks: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    rows = [("x, y, z together; metres", ranks["position"])] if ranks["position"] is not None else []
    if ranks["all_axes"] is not None:
        rows.append(("all axes together; standard deviations", ranks["all_axes"]))
    return rows + [(f"{name} alone", figure) for name, figure in ranks["by_axis"].items()]


NOTHING_VARIES = (
    "Not measured: no axis of the true actions varies within the model's bounds, so there is nothing to find."
)


def _axis_cards(measured: Measurements, material: Shown) -> str:
    axes = material.windows.action_space.axes
    charts, empty = [], []
    for found in measured.landscapes:
        chart = _axis_chart(found, axes[found.axis].label, axes[found.axis].scale)
        if chart is None:
            empty.append(axes[found.axis].name)
        else:
            charts.append(chart)
    words = (
        f"No curve for {', '.join(empty)}: fewer than two windows have their true action within the model's bounds "
        "there."
        if empty
        else ""
    )
    return (html.cards(charts, last_values=False) if charts else "") + html.paragraph(words, "dim")


def _axis_chart(found: AxisLandscape, label: str, scale: float) -> Chart | None:
    """Return the mean curve around the truth; None where no offset lies within the bounds in two windows."""
    offsets, energies = found.around_truth(OFFSETS)
    line, band = [], []
    for offset, column in zip((offsets * scale).tolist(), energies.double().numpy().T, strict=True):
        there = column[np.isfinite(column)]
        if len(there) < 2:
            continue
        half = 1.96 * float(there.std(ddof=1)) / len(there) ** 0.5
        line.append((offset, float(there.mean())))
        band.append((offset, float(there.mean()) - half, float(there.mean()) + half))
    if not line:
        return None
    name = "energy above the truth's"
    return Chart(f"{name}, over the offset in {label}", {name: line}, {name: band})


def _planes(material: Shown) -> str:
    if not material.windows.action_space.is_pose:
        return ""
    axes = material.windows.action_space.axes
    blocks: list[str] = []
    for place in material.places:
        planes = []
        for first, second in PLANES:
            across, up, energies = plane_landscape(
                material.energy, material.windows, place, (first, second), points=POINTS
            )
            true = material.windows.actions[place, 0]
            planes.append(
                Plane(
                    across.numpy() * axes[first].scale,
                    up.numpy() * axes[second].scale,
                    energies.numpy(),
                    (float(true[first]) * axes[first].scale, float(true[second]) * axes[second].scale),
                    (axes[first], axes[second]),
                )
            )
        caption = (
            ""
            if blocks
            else "Energy over two axes in single windows; cross: the true action, ring: the lowest point."
        )
        blocks.append(html.picture(landscape_picture(planes, f"window {place}"), caption))
    return "".join(blocks)
