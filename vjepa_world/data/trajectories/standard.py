"""Brings a trajectory to our convention: poses in metres and radians, and the changes between them as actions.

Shapes: T observations, S state size, A action size.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.trajectories.base import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import Convention
from vjepa_world.ops.pose import POSE_SIZE, PoseError, pose_delta, to_pose, unwrap_angles


def standardise(trajectory: Trajectory, convention: Convention) -> Trajectory:
    """Return the trajectory with states and actions as we write them; all else stays as it is.

    Args:
        trajectory: As the file has it.
        convention: How its numbers are written.

    Returns:
        Where the convention has a pose: states float32 [T,7] (x y z [m], extrinsic xyz Euler [rad] without jumps of
        full turns between rows, closure) and actions float32 [T-1,7], the pose deltas from state to state (`derived`),
        from the state to the pose that the action names (`target`), or as the file has them (`delta`). Actions that
        are `given`, and all numbers where there is no pose, are the same in float32. `last_action` follows where it
        can.

    Raises:
        DataError: The states do not have the convention's places, an entry is no pose, or actions are not of the size
            that the convention promises; the trajectory is named.
    """
    last = trajectory.last_action
    if not convention.has_pose:
        states, actions = trajectory.states, trajectory.actions
    else:
        poses = read_poses(trajectory, convention)
        states = unwrap_angles(poses).numpy()
        actions = _actions(trajectory, convention, poses)
        last = None if convention.actions in ("derived", "target") else last
    return replace(
        trajectory,
        states=np.ascontiguousarray(states, dtype=np.float32),
        actions=np.ascontiguousarray(actions, dtype=np.float32),
        last_action=None if last is None else last.astype(np.float32),
    )


def read_poses(trajectory: Trajectory, convention: Convention) -> Tensor:
    """Return the poses of a trajectory's states, float64 [T,7]; their angles may jump by full turns.

    Raises:
        DataError: The states are not as the convention says; the trajectory is named.
    """
    return _poses(trajectory, convention, trajectory.states, "its states")


def read_targets(trajectory: Trajectory, convention: Convention) -> Tensor:
    """Return the poses that actions name, written as the states are, float64 [T-1,7].

    Raises:
        DataError: The actions are not as the convention says; the trajectory is named.
    """
    return _poses(
        trajectory, convention, trajectory.actions, "its actions, which are targets written as the states are"
    )


def _poses(trajectory: Trajectory, convention: Convention, values: np.ndarray, what: str) -> Tensor:
    try:
        return to_pose(torch.from_numpy(values.astype(np.float64)), convention)
    except PoseError as error:
        raise DataError(f"{trajectory.name}: {what}, cannot be read: {error}") from error


def _actions(trajectory: Trajectory, convention: Convention, poses: Tensor) -> np.ndarray:
    """Return the actions between the poses of the trajectory's states, [T-1,A]."""
    if convention.actions == "derived":
        derived: np.ndarray = pose_delta(poses[:-1], poses[1:]).numpy()
        return derived
    if convention.actions == "target":
        to_target: np.ndarray = pose_delta(poses[:-1], read_targets(trajectory, convention)).numpy()
        return to_target
    if convention.actions == "delta" and trajectory.actions.shape[1] != POSE_SIZE:
        raise DataError(
            f"{trajectory.name}: its actions have {trajectory.actions.shape[1]} numbers, and pose deltas have "
            f"{POSE_SIZE} (x y z, three angles, closure); set actions=derived to take the changes of the state, or "
            "actions=given."
        )
    return trajectory.actions
