"""Checks of joints: other units than declared, jumps, and actions of another kind than declared.

Shapes: T observations of an episode, J joints.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vjepa_world.data.trajectories.checks.findings import CheckInput, Finding, first_location, first_row
from vjepa_world.data.trajectories.convention_inference import CLOSER, action_distances
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.ops.rotations import FULL_TURN

#: Plausible readings in each unit: two and a half turns; a driver's range with a margin.
_RANGES = {
    "rad": (-5 * math.pi, 5 * math.pi),
    "deg": (-900.0, 900.0),
    "m": (-5.0, 5.0),
    "mm": (-5000.0, 5000.0),
    "normalised": (-110.0, 110.0),
    "percent": (-10.0, 110.0),
    "share": (-0.1, 1.1),
}

#: If joints declared in degrees are never beyond this, a turn in radians, they may be in radians.
_TURN = 2 * math.pi

#: A change between rows is a jump if it exceeds this multiple of the usual step and this share of the joint's range.
_JUMP, _JUMP_RANGE = 20.0, 0.1


def joint_units(data: CheckInput) -> Iterator[Finding]:
    """Joints in another unit than declared.

    Rules: a joint's readings are implausible in its unit (beyond 15.7 rad, 900 deg, 110 of -100 to 100); or moving
    joints are declared in degrees, and none is ever beyond 6.3. Without a unit, a note suggests one.
    """
    joints = _joints(data)
    if not joints:
        return
    names, count = _names(data), joints[0][1].shape[1]
    units = data.convention.units_of_joints(count)
    all_values = np.concatenate([values for _, values in joints])
    low, high = all_values.min(axis=0), all_values.max(axis=0)
    for index, unit in enumerate(units):
        least, most = _RANGES.get(unit, (-math.inf, math.inf))
        if low[index] < least or high[index] > most:
            where = first_location((e, (v[:, index] < least) | (v[:, index] > most)) for e, v in joints)
            yield Finding(
                check="joint unit",
                severity="error",
                message=f"{names[index]} is declared in {unit} and reads {low[index]:.4g} to {high[index]:.4g}, "
                f"expected {least:.4g} to {most:.4g}: set joint_units{_looks(low[index], high[index])}.",
                episode=where[0],
                row=where[1],
            )
    moving = high - low > 1e-6
    degrees = moving & (np.array(units) == "deg")
    size = np.maximum(np.abs(low), np.abs(high))
    if degrees.any() and (size[degrees] <= _TURN).all():
        yield Finding(
            check="joint unit",
            severity="warning",
            message=f"joints are declared in degrees, and none is beyond {size[degrees].max():.3g}: set "
            "joint_units=rad unless they hardly turn.",
        )
    if not any(units):
        yield Finding(
            check="joint unit",
            severity="note",
            message=f"no unit of the joints is declared, and they read {low.min():.4g} to {high.max():.4g}: set "
            f"joint_units{_looks(float(low.min()), float(high.max()))}.",
        )


def joint_jumps(data: CheckInput) -> Iterator[Finding]:
    """Joints that jump: two joined episodes, a missing row, or a wrapped angle.

    Rule: between two rows a joint changes by more than 20 times its usual step while it moves, and by more than a tenth
    of its range.
    """
    joints = _joints(data)
    if not joints:
        return
    names = _names(data)
    steps = [(episode, np.abs(np.diff(values, axis=0))) for episode, values in joints]
    all_values = np.concatenate([values for _, values in joints])
    span = all_values.max(axis=0) - all_values.min(axis=0)
    moved = np.concatenate([step for _, step in steps])
    usual = np.array([_usual(column, least) for column, least in zip(moved.T, 1e-4 * span, strict=True)])
    units = data.convention.units_of_joints(len(span))
    for episode, step in steps:
        mask = (step > _JUMP * usual) & (step > _JUMP_RANGE * span)
        row = first_row(mask)
        if row is None:
            continue
        joint = int(mask[row].argmax())
        wraps = _wraps(float(step[row, joint]), units[joint])
        todo = "unwrap the angle" if wraps else "leave out the episode, or cut it there"
        yield Finding(
            check="joint jump",
            severity="warning",
            message=f"{names[joint]} jumps by {step[row, joint]:.4g} to the next row, usual is {usual[joint]:.2g}: "
            f"{todo}.",
            episode=episode.index,
            row=row,
        )


def _usual(steps: np.ndarray, least: float) -> float:
    """Return the median step of a joint while it moves; +inf if it never does."""
    moving = steps[steps > least]
    return float(np.median(moving)) if moving.size else math.inf


def joint_actions(data: CheckInput) -> Iterator[Finding]:
    """Targets declared as changes, or the other way round.

    Rule: the median distance of the actions to the next joints is less than a fifth of that to the joints' changes, and
    they are declared delta (an error) or given (a note); or the other way round, and they are declared target.
    """
    declared = data.convention.actions
    if not data.convention.has_joints or declared in ("derived", "derived_target"):
        return
    distances = action_distances(data.episodes, data.convention)
    if distances is None:
        return
    following, change = distances
    if following < CLOSER * change and declared in ("delta", "given"):
        yield Finding(
            check="joint actions",
            severity="error" if declared == "delta" else "note",
            message=f"actions are declared {declared}, and are {following:.3g} from the next joints, but "
            f"{change:.3g} from their changes: set actions=target.",
        )
    elif change < CLOSER * following and declared in ("target", "given"):
        yield Finding(
            check="joint actions",
            severity="error" if declared == "target" else "note",
            message=f"actions are declared {declared}, and are {change:.3g} from the joints' changes, but "
            f"{following:.3g} from the next joints: set actions=delta.",
        )


def _joints(data: CheckInput) -> list[tuple[Trajectory, np.ndarray]]:
    """Return the episodes with their joints, float64 `[T, J]`; none if there are no joints."""
    if not data.convention.has_joints:
        return []
    found = []
    for episode in data.episodes:
        indices = data.convention.joints
        columns = list(range(episode.states.shape[1])) if isinstance(indices, str) else list(indices)
        if max(columns, default=0) < episode.states.shape[1]:
            found.append((episode, episode.states[:, columns].astype(np.float64)))
    return found


def _names(data: CheckInput) -> list[str]:
    indices = data.convention.joints
    size = data.episodes[0].states.shape[1]
    return [data.state_name(index) for index in (range(size) if isinstance(indices, str) else indices)]


def _looks(low: float, high: float) -> str:
    """Return the unit that numbers look like, as the end of a sentence."""
    most = max(abs(low), abs(high))
    if most <= _TURN:
        return "=rad (or share, or m) where that is what they are"
    if most <= 100:
        return "=deg, or normalised or percent for a driver's range"
    return "=deg where that is what they are"


def _wraps(step: float, unit: str) -> bool:
    turn = FULL_TURN.get(unit)
    return turn is not None and abs(step - turn) < 0.1 * turn
