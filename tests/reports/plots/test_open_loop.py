"""Points and colours are drawn at the values of the axes."""

from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import pytest
from PIL import Image

from tests.reports.plots.test_curves import SVG, group, ticks
from vjepa_world.planning.action_axes import Axis
from vjepa_world.reports.plots.open_loop import (
    EnergyPlane,
    plot_directions,
    plot_energy_planes,
    plot_planned_actions,
)

X, Y = Axis("x", "cm", 100.0), Axis("y", "cm", 100.0)


def points(drawing: str, name: str) -> np.ndarray:
    """Return the markers of a group in the numbers of the axes, `[n, 2]`."""
    marks = [(float(u.attrib["x"]), float(u.attrib["y"])) for u in group(drawing, name).iter(f"{SVG}use")]
    columns = []
    for axis, values in zip((1, 2), np.array(marks).T, strict=True):
        (p0, v0), *_, (p1, v1) = ticks(drawing, axis)
        columns.append(v0 + (values - p0) / (p1 - p0) * (v1 - v0))
    return np.stack(columns, axis=1)


def test_planned_actions_are_drawn_over_the_true_ones() -> None:
    generator = np.random.default_rng(0)
    true, planned = generator.normal(size=(2, 9, 2)) / 100
    first, second = plot_planned_actions(true, planned, (X, Y))
    assert "true x [cm]" in first and "planned y [cm]" in second
    for column, drawing in enumerate((first, second)):
        found, expected = points(drawing, "actions"), 100 * np.stack([true, planned], axis=-1)[:, column]
        np.testing.assert_allclose(found[:, 0], expected[:, 0], atol=0.02)
        # Text at the y axis is positioned by its base line, a few pixels below the tick.
        offset = found[:, 1] - expected[:, 1]
        assert np.ptp(offset) < 0.02 and np.abs(offset).max() < 0.1


@pytest.mark.parametrize("angle_deg", [0.0, 40.0])
def test_planned_motions_are_turned_so_that_the_true_ones_point_right(angle_deg: float) -> None:
    generator = np.random.default_rng(1)
    true = generator.normal(size=(12, 2)) / 100
    true[3] = 0.0  # no direction
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    planned = true @ np.array([[c, s], [-s, c]])  # turned to the left
    [drawing] = plot_directions(true, planned, -angle_deg)
    found = points(drawing, "motions")
    length = 100 * np.linalg.norm(np.delete(true, 3, axis=0), axis=1)
    expected = np.stack([length * c, length * s], axis=1)
    np.testing.assert_allclose(found, expected, atol=0.12)


def test_the_energy_is_bright_where_it_is_high_on_one_scale() -> None:
    across, up = np.linspace(-2, 2, 9), np.linspace(-1, 1, 5)
    energy = across[None] + 10 * up[:, None]  # highest at the upper right
    planes = [
        EnergyPlane(across, up, energy, (0.5, 0.5), (X, Y)),
        EnergyPlane(across, up, energy - 5, (0.5, 0.5), (X, Y)),
    ]
    assert planes[0].lowest == (-2.0, -1.0)
    first, second = (
        np.array(Image.open(io.BytesIO(base64.b64decode(data)))).astype(float)[..., :3].sum(axis=2)
        for data in (
            re.findall(r'href="data:image/png;base64,\s*([^"]*)"', drawing)[0]
            for drawing in plot_energy_planes(planes, "window 3")
        )
    )
    # matplotlib stores the picture upside down and flips it as it draws.
    drawing = plot_energy_planes(planes, "window 3")[0]
    is_flipped = "scale(1 -1)" in drawing
    upright = first[::-1] if is_flipped else first
    corners = [upright[0, -1], upright[0, 0], upright[-1, -1], upright[-1, 0]]
    assert corners == sorted(corners, reverse=True)
    assert second.mean() < first.mean()
    assert "window 3: x-y" in drawing and "energy" in drawing
