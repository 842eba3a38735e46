"""Checks of positions and angles: other units than declared.

Shapes: T observations of an episode.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from vjepa_world.data.trajectories.checks.findings import CheckInput, Finding, first_location, first_row
from vjepa_world.ops.convention import LENGTHS_M, ROTATIONS

#: Longest reach of an arm from its base [m]; a dataset within the smaller distance is not of a moving arm.
REACH_M, SMALL_M = 3.0, 0.02

#: Faster than any wrist rotates [rad/s].
FASTEST_RAD_S = 10.0

_TURN = 2 * math.pi

#: Share of rows that may be outliers.
_OUTLIERS = 0.01


def position_unit(data: CheckInput) -> Iterator[Finding]:
    """Positions in another unit than declared.

    Rule: more than one row in a hundred is further from the base than an arm reaches (3 m), or a dataset declared in
    mm or cm stays within 2 cm of it.
    """
    distances = [(episode, np.linalg.norm(poses[:, :3], axis=1)) for episode, poses in data.with_poses()]
    if not distances:
        return
    all_distances = np.concatenate([distance for _, distance in distances])
    unit = data.convention.position_unit
    far, most = float(np.quantile(all_distances, 1 - _OUTLIERS)), float(all_distances.max())
    if far > REACH_M:
        fitting = [
            name
            for name, length in LENGTHS_M.items()
            if far * length / LENGTHS_M[unit] <= REACH_M and name != unit
        ]
        todo = (
            f"set position_unit={fitting[0]}" if fitting else "set position_at to the indices of x, y and z"
        )
        where = first_location((episode, distance > REACH_M) for episode, distance in distances)
        yield Finding(
            check="position unit",
            severity="error",
            message=f"positions, read in {unit}, are {far:.4g} m from the base, expected at most {REACH_M:g}: {todo}.",
            episode=where[0],
            row=where[1],
        )
    elif unit != "m" and 0 < most < SMALL_M:
        yield Finding(
            check="position unit",
            severity="warning",
            message=f"positions, read in {unit}, all lie within {1000 * most:.2g} mm of the base, expected an arm's "
            "reach: set position_unit=m if they are metres.",
        )


def angle_unit(data: CheckInput) -> Iterator[Finding]:
    """Angles in another unit than declared.

    Rule for radians: an angle is beyond a full turn, either in an episode's first row, where turns cannot have added
    up, or while it changes faster than a wrist rotates (10 rad/s in more than one row in a hundred). Rule for degrees:
    none is ever beyond 6.3 degrees, a full turn in radians.
    """
    convention = data.convention
    if not convention.has_pose or ROTATIONS[convention.rotation] != 3:
        return
    indices = list(convention.rotation_at)
    angles = [(episode, episode.states[:, indices].astype(np.float64)) for episode, _ in data.with_poses()]
    if not angles:
        return
    most = max(float(np.abs(values).max()) for _, values in angles)
    if convention.angle_unit == "deg":
        if 0 < most <= _TURN:
            yield Finding(
                check="angle unit",
                severity="note",
                message=f"angles are declared in degrees, and none is beyond {most:.3g}: set angle_unit=rad unless "
                "the gripper hardly turns.",
            )
        return
    beyond = [(episode, np.abs(values) > _TURN) for episode, values in angles]
    at_start = any(mask[0].any() for _, mask in beyond)
    rates = np.concatenate([np.abs(np.diff(v, axis=0)).max(axis=1) * e.fps for e, v in angles])
    wound_up = rates.size == 0 or float(np.quantile(rates, 1 - _OUTLIERS)) <= FASTEST_RAD_S
    index, row = first_location(beyond)
    if index is None or row is None or (not at_start and wound_up):
        return
    values = next(values for episode, values in angles if episode.index == index)
    column = int(np.abs(values[row]).argmax())
    yield Finding(
        check="angle unit",
        severity="error",
        message=f"angles are declared in radians, and {data.state_name(indices[column])} reads "
        f"{values[row, column]:.4g}, expected at most a turn (6.28): set angle_unit=deg.",
        episode=index,
        row=row,
    )


def jumps(data: CheckInput) -> Iterator[Finding]:
    """Positions that jump: two joined episodes, or a missing row.

    Rule: between two rows the position changes by more than 10 cm and by more than 20 times the usual step of the
    dataset while it moves.
    """
    steps = [
        (episode, np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1))
        for episode, poses in data.with_poses()
    ]
    moving = np.concatenate([step[step > 1e-4] for _, step in steps]) if steps else np.empty(0)
    if not moving.size:
        return
    usual = float(np.median(moving))
    for episode, step in steps:
        row = first_row(step > max(0.1, 20 * usual))
        if row is not None:
            yield Finding(
                check="jump",
                severity="warning",
                message=f"the position jumps by {step[row]:.3g} m to the next row, usual is {usual:.2g} m: leave "
                "out the episode, or cut it there.",
                episode=episode.index,
                row=row,
            )
