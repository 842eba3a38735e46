"""An episode as one picture: a film strip of each camera, and under it states and actions on the same time axis.

Shapes: T observations, S state size, A action size, H W pixels; pictures are RGB, uint8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention
from vjepa_world.reports.curve_panel import WHITE, Panel, TimeAxis, draw_links, draw_panel, draw_text

#: Pictures of a strip, the width of the whole and of what is left and right of the time axis [pixels].
FRAMES, WIDTH, LEFT, RIGHT = 8, 1240, 64, 176

#: Height of a panel, of the last one with its clock, and of a line of text [pixels].
_PANEL, _CLOCK, _LINE, _LINKS = 124, 18, 26, 14

#: Curves of a panel, and panels for numbers that are no pose, at most.
_CURVES, _PANELS = 7, 3

_GAP = 4

#: Title, unit, first number and one after the last, values that are shown in any case and the axis' least extent.
_POSE = (
    ("position", "m", 0, 3, (), 0.1),
    ("angles", "rad", 3, 6, (), 0.2),
    ("gripper closure", "0 open, 1 closed", 6, 7, (0.0, 1.0), 0.0),
)
_DELTA = (
    ("change of position", "m", 0, 3, (0.0,), 0.02),
    ("turn", "rad", 3, 6, (0.0,), 0.02),
    ("change of closure", "", 6, 7, (0.0,), 0.2),
)
_POSE_NAMES = ("x", "y", "z", "about x", "about y", "about z", "closure")


def trajectory_picture(
    trajectory: Trajectory,
    convention: Convention,
    *,
    title: str = "",
    state_names: Sequence[str] = (),
    action_names: Sequence[str] = (),
) -> np.ndarray:
    """Return the picture of an episode, `[H, W, 3]`.

    Where the convention has a pose the curves are in ours. Other numbers, and those that are not as the convention
    says, are drawn as they are, the first ones of them.

    Args:
        trajectory: The episode, as its file has it.
        convention: How its numbers are written.
        title: Of the dataset; the episode's figures follow.
        state_names: One for each entry of the state.
        action_names: One for each entry of the action.

    Frames that cannot be decoded are said in the picture.
    """
    times_s = trajectory.timestamps_s - trajectory.timestamps_s[0]
    end_s = max(float(times_s[-1]), 1e-3)
    axis = TimeAxis(left=LEFT, right=WIDTH - RIGHT, end_s=end_s)
    wanted_s = (np.arange(FRAMES) + 0.5) * end_s / FRAMES
    rows = np.abs(times_s[:, None] - wanted_s).argmin(axis=0)
    task = f", '{trajectory.task}'" if trajectory.task else ""
    head = f"{title}  episode {trajectory.index}{task}, {len(trajectory)} rows in {end_s:.1f} s"
    parts = [draw_text(head.strip(), LEFT, (WIDTH, _LINE), points=15)]
    for camera in trajectory.cameras:
        parts += _strip(trajectory, camera, rows)
    marks_s = times_s[rows].tolist() if trajectory.cameras else []
    if marks_s:
        parts.append(draw_links(list(map(axis.x, wanted_s)), list(map(axis.x, marks_s)), (WIDTH, _LINKS)))
    try:
        ours = standardise(trajectory, convention)
    except DataError:  # the checks say why; what the file has is drawn
        ours, convention = trajectory, PLAIN
    if convention.has_joints:
        indices = convention.joint_indices(len(state_names) or trajectory.states.shape[1])
        units = convention.units_of_joints(len(indices))
        state_names = _joint_names(indices, units, state_names)
        action_names = action_names if convention.actions == "given" else state_names
    panels = [
        *_panels("state", ours, convention, times_s, state_names),
        *_panels("action", ours, convention, times_s, action_names),
    ]
    for place, panel in enumerate(panels):
        last = place == len(panels) - 1
        size = (WIDTH, _PANEL + _CLOCK * last)
        parts.append(draw_panel(panel, axis, size, marks_s, clock=last))
    return np.concatenate(parts)


def _how(what: str, convention: Convention) -> str:
    """Return where numbers that are no pose come from."""
    if convention.has_joints and what == "action" and convention.actions != "given":
        return f"of the joints ({convention.actions})"
    return "as in the file"


def _joint_names(indices: Sequence[int], units: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the joints' names with their units."""
    return [
        (names[index] if index < len(names) else f"joint {index}") + (f" [{unit}]" if unit else "")
        for index, unit in zip(indices, units, strict=True)
    ]


def _strip(trajectory: Trajectory, camera: str, rows: np.ndarray) -> list[np.ndarray]:
    """Return a camera's name and its frames, each over its part of the time axis."""
    try:
        frames = trajectory.frames(rows, camera).permute(0, 2, 3, 1).numpy()
    except DataError as error:
        return [draw_text(f"camera {camera}: {error}", LEFT, (WIDTH, _LINE), points=12)]
    slot = (WIDTH - LEFT - RIGHT) / len(rows)
    width = int(slot) - _GAP
    height = max(1, round(width * frames.shape[1] / frames.shape[2]))
    strip = Image.new("RGB", (WIDTH, height + _GAP), WHITE)
    for place, frame in enumerate(frames):
        tile = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        strip.paste(tile, (LEFT + round(place * slot) + _GAP // 2, 0))
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    caption = f"camera {camera}, {size}, rows {', '.join(map(str, rows.tolist()))}"
    return [draw_text(caption, LEFT, (WIDTH, _LINE), points=12), np.asarray(strip)]


def _panels(
    what: str, trajectory: Trajectory, convention: Convention, times_s: np.ndarray, names: Sequence[str]
) -> list[Panel]:
    """Return the panels of the states or of the actions."""
    values, held = (trajectory.states, False) if what == "state" else (trajectory.actions, True)
    if not len(values):
        return []
    of_pose = convention.has_pose and (what == "state" or convention.actions != "given")
    times_s = times_s[: len(values)]
    if of_pose:
        groups = _POSE if what == "state" else _DELTA
        how = f" ({convention.actions})" if what == "action" else ""
        return [
            Panel(
                title=f"{what}: {title}{how}",
                unit=unit,
                names=_POSE_NAMES[first:last],
                times_s=times_s,
                values=values[:, first:last],
                held=held,
                shown=shown,
                least=least,
            )
            for title, unit, first, last, shown, least in groups
        ]
    shown = range(0, min(values.shape[1], _CURVES * _PANELS), _CURVES)
    left_out = max(0, values.shape[1] - _CURVES * _PANELS)
    named = (
        names if len(names) == values.shape[1] else [f"{what} {place}" for place in range(values.shape[1])]
    )
    return [
        Panel(
            title=f"{what} {first} to {min(first + _CURVES, values.shape[1]) - 1}, {_how(what, convention)}"
            + (f" ({left_out} more are not shown)" if left_out and first == shown[-1] else ""),
            unit="",
            names=[str(name)[:22] for name in named[first : first + _CURVES]],
            times_s=times_s,
            values=values[:, first : first + _CURVES],
            held=held,
        )
        for first in shown
    ]
