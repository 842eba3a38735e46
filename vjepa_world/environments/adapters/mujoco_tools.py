"""Exact snapshots and quick pictures of a MuJoCo simulation, of the version that the environment's package has."""

from __future__ import annotations

import copy
from typing import Any


def render_quickly(model: Any) -> None:
    """Render without shadows and multisampling, which take most of the time on a CPU; before a renderer is made."""
    model.vis.quality.shadowsize = 0
    model.vis.quality.offsamples = 0


def quick_renderer(model: Any, image_size: int) -> Any:
    """Return MuJoCo's own renderer of square images, after :func:`render_quickly`."""
    import mujoco

    render_quickly(model)
    return mujoco.Renderer(model, image_size, image_size)


def snapshot(data: Any) -> Any:
    """Return a copy of a simulation, with derived quantities: some controllers read those of the step before."""
    return copy.copy(data)


def restore(model: Any, data: Any, saved: Any) -> None:
    """Put a simulation into the state of a :func:`snapshot`."""
    import mujoco

    mujoco.mj_copyData(data, model, saved)
