r"""Checks of quaternions: their norm, and the order of their entries.

Distances between consecutive quaternions do not depend on the order, since a permutation keeps every scalar product.
The order shows in products of quaternions (compared with the actions), and in the entry that a writer treats as w.

Shapes: T observations of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from vjepa_world.data.trajectories.checks.findings import CheckInput, Finding, first_row
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.ops.rotations import rotation_matrix, write_rotation

ORDERS = ("quat_xyzw", "quat_wxyz")

#: Largest difference of a norm from 1.
_ROUNDING = 0.01

#: Correlations below which rotations do not follow the actions, and above which they do.
_UNLIKE, _LIKE = 0.3, 0.6

#: Least number of sign changes for a conclusion, and of rotating rows for a correlation.
_LEAST_FLIPS, _LEAST_ROWS = 3, 30


def quaternion_length(data: CheckInput) -> Iterator[Finding]:
    """Four numbers that are not a quaternion.

    Rule: their norm differs from 1 by more than 0.01.
    """
    for episode, quaternions in _quaternions(data):
        length = np.linalg.norm(quaternions, axis=1)
        row = first_row(np.abs(length - 1) > _ROUNDING)
        if row is not None:
            indices = ", ".join(map(str, data.convention.rotation_at))
            yield Finding(
                check="quaternion",
                severity="error",
                message=f"entries {indices} of the state have norm {length[row]:.4g}, and a quaternion has 1: set "
                "rotation_at to its four indices.",
                episode=episode.index,
                row=row,
            )


def quaternion_order(data: CheckInput) -> Iterator[Finding]:
    """Quaternions written w x y z and read as x y z w, or the other way round.

    Rules, the first that holds:

    - in the other order the gripper rotates as the actions do (correlation above 0.6 about every axis), in the declared
      order it does not (below 0.3 about some);
    - the writer keeps one entry non-negative, with jumps from q to -q, and it is w in the other order;
    - declared w x y z, the last entry dominates: half a turn about the vertical, where the other order would mean no
      rotation (a note).
    """
    declared = data.convention.rotation
    if not data.convention.has_pose or declared not in ORDERS:
        return
    found = [(e, q) for e, q in _quaternions(data) if (np.linalg.norm(q, axis=1) > 0.5).all()]
    if not found:
        return
    other = ORDERS[1 - ORDERS.index(declared)]
    reason = _by_actions(found, declared, other) or _by_sign(found, declared)
    if reason:
        yield Finding(
            check="quaternion order",
            severity="error",
            message=f"quaternions are declared {declared}, and {reason}: set rotation={other}.",
        )
    elif declared == "quat_wxyz" and _is_last(np.concatenate([q for _, q in found])):
        yield Finding(
            check="quaternion order",
            severity="note",
            message="quaternions are declared quat_wxyz, and the last entry dominates in nearly all, half a turn "
            "about the vertical; expected if a gripper is mounted so: set rotation=quat_xyzw if it is not.",
        )


def _quaternions(data: CheckInput) -> Iterator[tuple[Trajectory, np.ndarray]]:
    """Yield the file's quaternions `[T, 4]`, if the convention has them."""
    convention = data.convention
    if not convention.has_pose or convention.rotation not in ORDERS:
        return
    indices = list(convention.rotation_at)
    for episode in data.episodes:
        if episode.states.shape[1] > max(indices):
            yield episode, episode.states[:, indices].astype(np.float64)


def _by_actions(found: Sequence[tuple[Trajectory, np.ndarray]], declared: str, other: str) -> str:
    """Return a reason if only the other order agrees with the actions' rotation, else an empty text."""
    turned = [(e.actions[:, 3:6].astype(np.float64), q) for e, q in found if e.actions.shape[1] in (6, 7)]
    turned = [(actions, q) for actions, q in turned if len(actions)]
    if not turned:
        return ""
    actions = np.concatenate([part for part, _ in turned])
    if (np.abs(actions).max(axis=1) > 1e-4).sum() < _LEAST_ROWS:
        return ""
    agreement = {
        order: max(
            _correlation(actions, np.concatenate([_turns(q, order, side) for _, q in turned]))
            for side in (0, 1)
        )
        for order in (declared, other)
    }
    if agreement[declared] >= _UNLIKE or agreement[other] <= _LIKE:
        return ""
    return (
        f"their rotations do not follow the actions (correlation {agreement[declared]:.2f}), in the other order they "
        f"do ({agreement[other]:.2f})"
    )


def _turns(quaternions: np.ndarray, order: str, side: int) -> np.ndarray:
    """Return the rotation vectors between rows [T-1,3], in the base frame (side 0) or the gripper's (1)."""
    matrices = rotation_matrix(torch.from_numpy(quaternions), order)
    before, after = matrices[:-1], matrices[1:]
    difference = before.mT @ after if side else after @ before.mT
    vectors: np.ndarray = write_rotation(difference, "rotvec").numpy()
    return vectors


def _correlation(actions: np.ndarray, turns: np.ndarray) -> float:
    """Return the smallest correlation of corresponding columns `[N, 3]`, among those with actions.

    The smallest and not the mean, since in the wrong order some axes may still agree.
    """
    actions, turns = actions - actions.mean(axis=0), turns - turns.mean(axis=0)
    commanded, measured = np.sqrt((actions**2).sum(axis=0)), np.sqrt((turns**2).sum(axis=0))
    moving = commanded > 0.1 * commanded.max()
    products = (actions * turns).sum(axis=0)
    return float((products[moving] / np.maximum(commanded * measured, 1e-12)[moving]).min())


def _by_sign(found: Sequence[tuple[Trajectory, np.ndarray]], declared: str) -> str:
    """Return a reason if jumps from q to -q keep the other order's w non-negative, and not the declared order's."""
    flips = sum(int(((q[1:] * q[:-1]).sum(axis=1) < 0).sum()) for _, q in found)
    never_negative = np.concatenate([q for _, q in found]).min(axis=0) >= -1e-6
    w, other = (3, 0) if declared == "quat_xyzw" else (0, 3)
    if flips < _LEAST_FLIPS or never_negative[w] or not never_negative[other]:
        return ""
    return f"all their signs change at once ({flips} times), which keeps entry {other} non-negative, as for w"


def _is_last(quaternions: np.ndarray) -> bool:
    sizes = np.abs(quaternions)
    return bool((sizes[:, 3] > 0.9).mean() > 0.9 and (sizes[:, 0] < 0.3).all())
