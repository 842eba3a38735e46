"""An episode as one picture: a film strip of each camera, and below it states and actions on the same time axis.

Shapes: T observations, S state size, A action size, H W pixels; pictures are RGB, uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention
from vjepa_world.reports.theme import SERIES, style, to_pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Frames of a strip; the width of the picture and of what is left and right of the time axis [pixels].
FRAMES, WIDTH, LEFT, RIGHT = 8, 1240, 64, 176

#: Heights [pixels]: of a panel, of the time axis below the last one, of a line of text, of the lines from frames to
#: their times; and the gap between frames.
PANEL, CLOCK, LINE, LINKS, GAP = 124, 22, 26, 14, 4

#: Curves of a panel, and panels for numbers that are not a pose, at most.
MAX_CURVES, MAX_PANELS = 7, 3

#: Colour of the lines from frames to their times and through the panels.
_MARK = "#b0b6be"

#: Title, unit, first number and one after the last, values that the axis includes, and the axis' least extent.
_POSE = (
    ("position", "m", 0, 3, (), 0.1),
    ("angles", "rad", 3, 6, (), 0.2),
    ("gripper closure", "0 open, 1 closed", 6, 7, (0.0, 1.0), 0.0),
)
_DELTA = (
    ("change of position", "m", 0, 3, (0.0,), 0.02),
    ("rotation", "rad", 3, 6, (0.0,), 0.02),
    ("change of closure", "", 6, 7, (0.0,), 0.2),
)
_POSE_NAMES = ("x", "y", "z", "about x", "about y", "about z", "closure")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Some curves over time.

    Attributes:
        title: What they are.
        unit: Of their values.
        names: One for each curve.
        times_s: `[T]`.
        values: `[T, curves]`.
        is_held: Whether a value holds until the next, as an action does, and is drawn as a step.
        included: Values that the axis includes in any case.
        least_extent: Least extent of the axis, so that noise does not fill it.
    """

    title: str
    unit: str
    names: Sequence[str]
    times_s: np.ndarray
    values: np.ndarray
    is_held: bool = False
    included: tuple[float, ...] = ()
    least_extent: float = 0.0


def trajectory_picture(
    trajectory: Trajectory,
    convention: Convention,
    *,
    title: str = "",
    state_names: Sequence[str] = (),
    action_names: Sequence[str] = (),
) -> np.ndarray:
    """Return the picture of an episode, `[H, W, 3]` uint8.

    Where the convention has a pose, the curves are in ours. Other numbers, and those that are not as the convention
    says, are drawn as they are, the first ones of them. Where frames cannot be decoded, the picture says why.

    Args:
        trajectory: The episode, as its file has it.
        convention: How its numbers are written.
        title: Of the dataset; the episode's index, task and length follow.
        state_names: One for each entry of the state.
        action_names: One for each entry of the action.
    """
    times_s = trajectory.timestamps_s - trajectory.timestamps_s[0]
    end_s = max(float(times_s[-1]), 1e-3)
    slots_s = (np.arange(FRAMES) + 0.5) * end_s / FRAMES
    rows = np.abs(times_s[:, None] - slots_s).argmin(axis=0)
    marks_s = times_s[rows] if trajectory.cameras else np.zeros(0)
    task = f", '{trajectory.task}'" if trajectory.task else ""
    head = f"{title}  episode {trajectory.index}{task}, {len(trajectory)} rows in {end_s:.1f} s"
    strips = [_strip(trajectory, camera, rows) for camera in trajectory.cameras]
    panels = _all_panels(trajectory, convention, times_s, state_names, action_names)
    heights = [LINE]
    heights += [part for _, frames in strips for part in (LINE, _strip_height(frames))]
    heights += [LINKS * bool(strips), *[PANEL] * len(panels), CLOCK]
    with style():
        layout = _Layout(sum(heights))
        layout.write(head.strip(), 15)
        for caption, frames in strips:
            layout.write(caption, 12)
            for k, frame in enumerate(frames):
                slot = (WIDTH - LEFT - RIGHT) / len(frames)
                layout.axes(
                    LEFT + round(k * slot) + GAP // 2, int(slot) - GAP, _strip_height(frames) - GAP
                ).imshow(frame, aspect="auto", interpolation="antialiased")
            layout.advance(_strip_height(frames))
        if strips:
            _draw_links(layout, slots_s, marks_s, end_s)
        for panel in panels:
            axes = layout.axes(LEFT, WIDTH - LEFT - RIGHT, PANEL - 30, top=22)
            draw_panel(axes, panel, end_s, marks_s, has_clock=panel is panels[-1])
            layout.advance(PANEL)
        return to_pixels(layout.figure)


class _Layout:
    """Places axes and text in a figure from top to bottom, in pixels."""

    def __init__(self, height: int) -> None:
        from matplotlib.figure import Figure

        self.figure: Figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
        self._height = height
        self._top = 0

    def axes(self, left: int, width: int, height: int, top: int = 0) -> Axes:
        """Return axes, `top` pixels below the current line; frames and lines have no ticks."""
        bottom = self._height - self._top - top - height
        axes = self.figure.add_axes(
            (left / WIDTH, bottom / self._height, width / WIDTH, height / self._height)
        )
        if not top:
            axes.set_axis_off()
        return axes

    def write(self, text: str, size: int) -> None:
        """Write a line of text and go below it."""
        middle = 1 - (self._top + LINE / 2) / self._height
        self.figure.text(LEFT / WIDTH, middle, text, fontsize=size, va="center")
        self.advance(LINE)

    def advance(self, height: int) -> None:
        """Go down."""
        self._top += height


def draw_panel(
    axes: Axes,
    panel: Panel,
    end_s: float,
    marks_s: Sequence[float] | np.ndarray = (),
    *,
    has_clock: bool = False,
) -> None:
    """Draw the curves of a panel from 0 to `end_s` [s], with thin lines at `marks_s` and times below if asked for."""
    text = panel.title + (f"  [{panel.unit}]" if panel.unit else "")
    axes.set_title(text, loc="left", fontsize=12, pad=5)
    for mark_s in marks_s:
        axes.axvline(mark_s, color=_MARK)
    axes.grid(axis="x", visible=False)
    times_s, values = panel.times_s, panel.values
    if panel.is_held:
        times_s, values = np.append(times_s, end_s), np.concatenate([values, values[-1:]])
    for k, (name, curve) in enumerate(zip(panel.names, values.T, strict=True)):
        # Later curves are thinner, so that one that lies under another is still seen.
        axes.plot(
            times_s,
            curve,
            color=SERIES[k],
            label=f" {name}",  # matplotlib hides names that start with an underscore
            linewidth=max(1.5, 3.5 - k),
            drawstyle="steps-post" if panel.is_held else "default",
        )
    low, high = _extent(panel)
    axes.set(xlim=(0, end_s), ylim=(low, high))
    axes.locator_params(axis="y", nbins=4)
    axes.tick_params(labelbottom=has_clock, bottom=has_clock)
    if has_clock:
        axes.locator_params(axis="x", nbins=12)
        axes.annotate(
            "seconds", (1, 0), (26, -12), "axes fraction", "offset points", va="center", fontsize=11
        )
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.004, 1.06),
        frameon=False,
        handlelength=1.2,
        labelspacing=0.15,
        fontsize=11,
    )


def _extent(panel: Panel) -> tuple[float, float]:
    """Return the ends of a panel's axis."""
    values = np.concatenate([panel.values.ravel(), np.asarray(panel.included, dtype=np.float64)])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    missing = max(panel.least_extent, 1e-9 * max(1.0, abs(high))) - (high - low)
    if missing > 0:
        low, high = low - missing / 2, high + missing / 2
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _draw_links(layout: _Layout, slots_s: np.ndarray, marks_s: np.ndarray, end_s: float) -> None:
    """Draw a line from the middle of each frame to its time."""
    axes = layout.axes(LEFT, WIDTH - LEFT - RIGHT, LINKS)
    axes.set(xlim=(0, end_s), ylim=(0, 1))
    axes.plot(np.stack([slots_s, marks_s]), [1, 0], color=_MARK)
    layout.advance(LINKS)


def _all_panels(
    trajectory: Trajectory,
    convention: Convention,
    times_s: np.ndarray,
    state_names: Sequence[str],
    action_names: Sequence[str],
) -> list[Panel]:
    """Return the panels of states and actions."""
    try:
        ours = standardise(trajectory, convention)
    except DataError:  # the checks of `inspect` say why; the numbers of the file are drawn
        ours, convention = trajectory, PLAIN
    if convention.has_joints:
        indices = convention.joint_indices(len(state_names) or trajectory.states.shape[1])
        units = convention.units_of_joints(len(indices))
        state_names = _joint_names(indices, units, state_names)
        action_names = action_names if convention.actions == "given" else state_names
    return [
        *_panels("state", ours, convention, times_s, state_names),
        *_panels("action", ours, convention, times_s, action_names),
    ]


def _origin(what: str, convention: Convention) -> str:
    """Return what numbers that are not a pose are."""
    if convention.has_joints and what == "action" and convention.actions != "given":
        return f"of the joints ({convention.actions})"
    return "as in the file"


def _joint_names(indices: Sequence[int], units: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the joints' names with their units."""
    return [
        (names[index] if index < len(names) else f"joint {index}") + (f" [{unit}]" if unit else "")
        for index, unit in zip(indices, units, strict=True)
    ]


def _strip(trajectory: Trajectory, camera: str, rows: np.ndarray) -> tuple[str, np.ndarray]:
    """Return a camera's caption and its frames `[FRAMES, H, W, 3]` uint8; none where they cannot be decoded."""
    try:
        frames = trajectory.frames(rows, camera).permute(0, 2, 3, 1).numpy()
    except DataError as error:
        return f"camera {camera}: {error}", np.zeros((0, 1, 1, 3), np.uint8)
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    return f"camera {camera}, {size}, rows {', '.join(map(str, rows.tolist()))}", frames


def _strip_height(frames: np.ndarray) -> int:
    """Return the height of a film strip of frames `[n, H, W, 3]` [pixels]; 0 without frames."""
    if not len(frames):
        return 0
    width = int((WIDTH - LEFT - RIGHT) / len(frames)) - GAP
    return max(1, round(width * frames.shape[1] / frames.shape[2])) + GAP


def _panels(
    what: str, trajectory: Trajectory, convention: Convention, times_s: np.ndarray, names: Sequence[str]
) -> list[Panel]:
    """Return the panels of the states or of the actions."""
    values, is_held = (trajectory.states, False) if what == "state" else (trajectory.actions, True)
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
                is_held=is_held,
                included=included,
                least_extent=least_extent,
            )
            for title, unit, first, last, included, least_extent in groups
        ]
    firsts = range(0, min(values.shape[1], MAX_CURVES * MAX_PANELS), MAX_CURVES)
    omitted = max(0, values.shape[1] - MAX_CURVES * MAX_PANELS)
    named = names if len(names) == values.shape[1] else [f"{what} {axis}" for axis in range(values.shape[1])]
    return [
        Panel(
            title=f"{what} {first} to {min(first + MAX_CURVES, values.shape[1]) - 1}, {_origin(what, convention)}"
            + (f" ({omitted} more are not shown)" if omitted and first == firsts[-1] else ""),
            unit="",
            names=[str(name)[:22] for name in named[first : first + MAX_CURVES]],
            times_s=times_s,
            values=values[:, first : first + MAX_CURVES],
            is_held=is_held,
        )
        for first in firsts
    ]
