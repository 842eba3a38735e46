"""The page of one plan: its actions, what the model imagines of it, and how the search found it.

Legend: K horizon, A action size, H W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from planners.protocols import Iteration
from vjepa_world.evaluation.imagined_plan import ImaginedPlan
from vjepa_world.planning.action_axes import ActionSpace
from vjepa_world.reports.pages.page import Cell, ImageGrid, fixed, number, render
from vjepa_world.reports.plots.curves import Chart, Point
from vjepa_world.reports.plots.images import evenly_spaced, resized
from vjepa_world.reports.plots.search_paths import SearchPaths, search_paths
from vjepa_world.reports.plots.search_scene import VIEWS, camera, figure_json, library, still
from vjepa_world.reports.theme import SCALE_STEPS, colour_map

#: Height of an image [pixels], and steps that are drawn, at most.
TILE, MAX_STEPS = 168, 8

_POSE_HEAD = ("dx [m]", "dy [m]", "dz [m]", "roll [rad]", "pitch [rad]", "yaw [rad]", "gripper closure")


def plan_page(
    title: str,
    subtitle: str,
    imagined: ImaginedPlan,
    settings: Mapping[str, object],
    all_settings: Mapping[str, object],
) -> str:
    """Return the page as HTML.

    Args:
        title: Of the page.
        subtitle: A line below it.
        imagined: The plan and what the model imagines of it.
        settings: What was searched with, and how long it took; a table.
        all_settings: All settings of the planner, folded.
    """
    energies = [float(energy) for energy in imagined.energies]
    ratio = energies[-1] / imagined.energy_now if imagined.energy_now > 0 else math.nan
    paths = search_paths(imagined.plan, imagined.state, imagined.action_space)
    trace = imagined.plan.iterations
    steps = [index - 1 for index in evenly_spaced(len(energies) + 1, MAX_STEPS + 1)[1:]]
    return render(
        "plan",
        title=title,
        subtitle=subtitle,
        energy_now=imagined.energy_now,
        energies=energies,
        change=f" ({100 * (ratio - 1):+.0f} %)" if math.isfinite(ratio) else "",
        is_nearer=energies[-1] < imagined.energy_now,
        actions=_actions(imagined),
        is_decoded=imagined.decoded is not None,
        drawn_steps=len(steps),
        images=_images(imagined, steps),
        iterations=[_row(k, part) for k, part in enumerate(trace, start=1)],
        charts=_charts(imagined) if len(trace) > 1 else [],
        of_joints=imagined.action_space.of_joints,
        paths=paths,
        scene=None if paths is None else _scene(paths),
        settings=[(name, number(value)) for name, value in settings.items()],
        all_settings=[(name, number(value)) for name, value in all_settings.items()],
    )


def _actions(imagined: ImaginedPlan) -> dict[str, Any]:
    """Return the table of the actions with the energy after each, the bounds, and what the numbers are."""
    space = imagined.action_space
    head = _POSE_HEAD if space.is_pose else tuple(axis.label for axis in space.axes)
    hold = space.hold(imagined.state[None])
    rows = [["now", *_signed(hold[0]), ""]] if space.meaning == "target" and hold is not None else []
    for step, (action, energy) in enumerate(
        zip(imagined.plan.actions[0], imagined.energies, strict=True), start=1
    ):
        rows.append([f"step {step}", *_signed(action), fixed(float(energy))])
    for end, bound in zip(("lowest", "highest"), imagined.bounds, strict=True):
        rows.append([f"{end} allowed", *_signed(bound), ""])
    return {"head": ["", *head, "energy after it"], "rows": rows, "words": _action_words(space)}


def _action_words(space: ActionSpace) -> str:
    """Return what the numbers of actions are, in a sentence; empty where that is not known."""
    if space.is_pose:
        return "Changes in the robot's base frame; rotations are extrinsic xyz Euler angles."
    if space.meaning == "target":
        return "Targets, in the numbers of the robot's state; no step exceeds the largest in training or declared."
    return "Changes of the joints." if space.of_joints and space.meaning == "delta" else ""


def _signed(numbers: Tensor) -> list[str]:
    return [f"{round(value, 4) + 0.0:+.4f}" for value in numbers.tolist()]


def _images(imagined: ImaginedPlan, steps: Sequence[int]) -> ImageGrid:
    """Return camera images, decoded features, energies and maps: columns are now, the drawn steps and the goal."""
    after = [f"after step {step + 1}" for step in steps]
    camera_cells = [
        Cell(f"{name}, as the camera sees it", resized(image, TILE))
        for name, image in (("now", imagined.image), ("goal", imagined.goal_image))
    ]
    rows = [("camera", [camera_cells[0], *[Cell()] * len(steps), camera_cells[1]])]
    if imagined.decoded is not None:
        frames = [imagined.decoded.now, *imagined.decoded.imagined[list(steps)], imagined.decoded.goal]
        texts = ["now, decoded", *(f"imagined {step}" for step in after), "goal, decoded"]
        cells = [Cell(text, resized(frame, TILE)) for text, frame in zip(texts, frames, strict=True)]
        rows.append(("imagined, decoded", cells))
    energies = [imagined.energy_now, *(float(imagined.energies[step]) for step in steps)]
    rows.append(("energy", [*(Cell(f"energy {fixed(energy)}") for energy in energies), Cell()]))
    scale = None
    if imagined.distances is not None:
        planes = imagined.distances[[0, *(step + 1 for step in steps)]].numpy()
        scale = (0.0, float(planes.max()))
        texts = ["distance now", *(f"distance {step}" for step in after)]
        maps = [
            Cell(text, colour_map(plane, *scale), is_map=True)
            for text, plane in zip(texts, planes, strict=True)
        ]
        rows.append(("distance to the goal", [*maps, Cell()]))
    return ImageGrid(["now", *after, "goal"], rows, TILE, scale=scale, scale_label="L1 distance of a token")


def _row(iteration_number: int, iteration: Iteration) -> list[object]:
    return [
        iteration_number,
        f"{float(iteration.best_energy[0]):.4f}",
        f"{float(iteration.mean_energy[0]):.4f}",
        f"{float(iteration.spread[0]):.3f}",
        iteration.selected.shape[1],
        int(iteration.selected[0].sum()),
        int((~np.isfinite(iteration.energies[0].cpu().numpy())).sum()),
    ]


def _charts(imagined: ImaginedPlan) -> list[Chart]:
    """Return the energies by iteration, and the width of the search."""
    trace = imagined.plan.iterations
    energies = {
        "best sample": _series(trace, "best_energy"),
        "mean of the samples": _series(trace, "mean_energy"),
        "the plan": [(float(len(trace)), float(imagined.plan.energy[0]))],
        "now": [(float(step), imagined.energy_now) for step in (1, len(trace))],
    }
    spread = {"spread [half-widths of the bounds]": _series(trace, "spread")}
    return [Chart("energy, over iterations", energies), Chart("spread, over iterations", spread)]


def _series(trace: Sequence[Iteration], name: str) -> list[Point]:
    values = [float(getattr(iteration, name)[0]) for iteration in trace]
    return [(float(k), value) for k, value in enumerate(values, start=1) if math.isfinite(value)]


def _scene(paths: SearchPaths) -> dict[str, Any]:
    label = "samples of the search in space, and the plan"
    summaries = [part.summary for part in paths.iterations]
    return {
        "label": label,
        "steps": SCALE_STEPS,
        "still": still(paths, label),
        "figure": figure_json(paths),
        "library": library(),
        "summaries": ["all iterations" if len(summaries) > 1 else summaries[0], *summaries],
        "views": {name: camera(*view) for name, view in VIEWS.items()},
    }
