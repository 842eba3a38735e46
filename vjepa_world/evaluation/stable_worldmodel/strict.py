r"""Strict criteria of success: tighter than the worlds' own, and held for several steps.

Legend: T steps of an episode. Rotations are quaternions w x y z.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Columns = Mapping[str, np.ndarray]
"""Numbers by column: `[...]` of a start or a goal, `[T, ...]` of the steps after the start."""


class Criterion(Protocol):
    """Tells at which steps a goal is reached."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it looks at."""

    @property
    def steps(self) -> int:
        """For how many steps in turn the goal must be reached."""

    def reached(self, start: Columns, trace: Columns, goal: Columns, env: Any) -> np.ndarray:
        """Return whether the goal is reached after each step, bool `[T]`.

        Args:
            start: The start.
            trace: The states after each step.
            goal: The goal.
            env: The environment, for walls and doors.
        """


def is_held(flags: np.ndarray, steps: int) -> bool:
    """Return whether `steps` flags in turn, of `[T]`, are true."""
    run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        if run >= steps:
            return True
    return False


@dataclass(frozen=True)
class PushT:
    """Pusher and block together within 10 pixels, as the world measures them, the block within 10 degrees; 3 steps."""

    distance: float = 10.0
    angle_deg: float = 10.0
    steps: int = 3
    columns: tuple[str, ...] = ("state",)

    def reached(self, start: Columns, trace: Columns, goal: Columns, env: Any) -> np.ndarray:
        """See :class:`Criterion`."""
        difference = trace["state"] - goal["state"]
        turned = np.abs(np.remainder(difference[:, 4] + np.pi, 2 * np.pi) - np.pi)
        near = np.linalg.norm(difference[:, :4], axis=1) <= self.distance
        return near & (np.degrees(turned) <= self.angle_deg)


@dataclass(frozen=True)
class TwoRoom:
    """Within 8 pixels, all walls on the way passed through a door."""

    distance: float = 8.0
    steps: int = 1
    columns: tuple[str, ...] = ("state",)

    def reached(self, start: Columns, trace: Columns, goal: Columns, env: Any) -> np.ndarray:
        """See :class:`Criterion`."""
        near = np.linalg.norm(trace["state"] - goal["state"], axis=1) <= self.distance
        path = np.concatenate([start["state"][None], trace["state"]])
        axis = 0 if int(env.wall_axis) == 1 else 1
        doors = [
            (float(env.door_positions[index]), float(env.door_sizes[index]))
            for index in range(int(env.num_doors))
        ]
        lawful = is_lawful(
            path, axis=axis, wall=float(env.wall_pos), half_m=int(env.wall_thickness) // 2, doors=doors
        )
        return near & lawful


def is_lawful(
    path: np.ndarray, *, axis: int, wall: float, half_m: float, doors: list[tuple[float, float]]
) -> np.ndarray:
    """Return whether a path has met the wall in doors alone up to each step, bool `[T]`.

    Args:
        path: Positions, the start first, `[T + 1, 2]`.
        axis: The coordinate across the wall, 0 or 1.
        wall: Its middle there.
        half_m: Half of its thickness, in the path's unit.
        doors: Middle and half width of each door, along the wall.
    """
    share = np.linspace(0, 1, 21)[:, None, None]
    points = (1 - share) * path[:-1] + share * path[1:]  # [21, T, 2]
    across, along = points[..., axis], points[..., 1 - axis]
    in_door = np.zeros(across.shape, bool)
    for middle, half in doors:
        in_door |= np.abs(along - middle) <= half
    within = (np.abs(across - wall) <= half_m) & ~in_door
    jumped = (path[:-1, axis] < wall) != (path[1:, axis] < wall)
    # A step that is longer than the wall is thick is looked at where it crosses the middle.
    nearest = np.abs(across - wall).argmin(axis=0)
    beside = jumped & ~in_door[nearest, np.arange(len(nearest))]
    return ~np.logical_or.accumulate(within.any(axis=0) | beside)


@dataclass(frozen=True)
class Reacher:
    """The fingertip within 1 cm; 2 steps."""

    distance_m: float = 0.01
    steps: int = 2
    columns: tuple[str, ...] = ("finger_pos",)

    def reached(self, start: Columns, trace: Columns, goal: Columns, env: Any) -> np.ndarray:
        """See :class:`Criterion`."""
        near: np.ndarray = np.linalg.norm(trace["finger_pos"] - goal["finger_pos"], axis=1) <= self.distance_m
        return near


@dataclass(frozen=True)
class Cube:
    """The cube within 3 cm and 15 degrees of the goal or of one of the poses that look the same; 3 steps."""

    distance_m: float = 0.03
    angle_deg: float = 15.0
    steps: int = 3
    columns: tuple[str, ...] = ("privileged/block_0_pos", "privileged/block_0_quat")

    def reached(self, start: Columns, trace: Columns, goal: Columns, env: Any) -> np.ndarray:
        """See :class:`Criterion`."""
        position, rotation = self.columns
        near = np.linalg.norm(trace[position] - goal[position], axis=1) <= self.distance_m
        return near & (cube_angle_deg(trace[rotation], goal[rotation]) <= self.angle_deg)


def cube_angle_deg(rotations: np.ndarray, goal: np.ndarray) -> np.ndarray:
    r"""Return the smallest angle between a cube's rotations and a goal's over the cube's 24 rotations, `[T]` [deg].

    .. math:: \min_{S} \arccos \frac{\mathrm{tr}(R_g^\top R S) - 1}{2}

    Args:
        rotations: Quaternions, `[T, 4]`.
        goal: A quaternion, `[4]`.
    """
    relative = _matrices(goal[None])[0].T @ _matrices(rotations)
    traces = np.einsum("tij,sji->ts", relative, _CUBE_ROTATIONS)
    return np.degrees(np.arccos(np.clip((traces.max(axis=1) - 1) / 2, -1, 1)))


def _matrices(quaternions: np.ndarray) -> np.ndarray:
    """Return rotation matrices `[T, 3, 3]` of quaternions `[T, 4]`."""
    unit = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    w, x, y, z = unit.astype(np.float64).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _cube_rotations() -> np.ndarray:
    """Return the rotations that map a cube onto itself, `[24, 3, 3]`: signed permutations of its axes."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.array(found)


_CUBE_ROTATIONS = _cube_rotations()
