"""Converts a trajectory to the standard convention: poses in metres and radians, or joints, and actions between them.

Shapes: T observations, S state size, A action size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.convention import Convention
from vjepa_world.ops.pose import POSE_SIZE, PoseError, pose_delta, to_pose, unwrap_angles
from vjepa_world.ops.rotations import shortest_changes


def standardise(trajectory: Trajectory, convention: Convention) -> Trajectory:
    """Return the trajectory with states and actions in the standard convention; all else is unchanged.

    Args:
        trajectory: The trajectory as its file has it.
        convention: How its numbers are written.

    Returns:
        If the convention has a pose: states float32 `[T, 7]` (x y z [m], extrinsic xyz Euler [rad] without jumps of
        full turns between rows, closure) and actions float32 `[T-1, 7]`: the pose deltas from state to state
        (`derived`), from the state to the action's pose (`target`), or the file's (`delta`). If it has joints: states
        `[T, J]` and actions `[T-1, J]` in the joints' units: their changes (`derived`), the next joints
        (`derived_target`), or the file's (`delta`, `target`). `given` actions, and all numbers if there is neither, are
        only converted to float32; indices of choices become one-hot `[T-1, n]`. `last_action` is converted too if
        possible.

    Raises:
        DataError: The states lack indices of the convention, an entry is not a pose, or actions have another size than
            the convention requires; the trajectory is named.
    """
    if convention.choices:
        trajectory = _with_one_hot(trajectory, convention.choices)
    last = trajectory.last_action
    if convention.has_joints:
        return _standard_joints(trajectory, convention)
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


def _with_one_hot(trajectory: Trajectory, choices: int) -> Trajectory:
    """Return the trajectory with one-hot actions [T-1,n] instead of indices [T-1,1]."""
    index = trajectory.actions[:, 0] if trajectory.actions.shape[1] == 1 else np.array([-1.0])
    wrong = np.flatnonzero((index != np.floor(index)) | (index < 0) | (index >= choices))
    if wrong.size:
        raise DataError(
            f"{trajectory.name}: its action at row {wrong[0]} is {trajectory.actions[wrong[0]].tolist()}; expected the "
            f"index of one of {choices} choices (convention.choices), counted from 0."
        )
    one_hot = np.eye(choices, dtype=np.float32)
    last = trajectory.last_action
    return replace(
        trajectory,
        actions=one_hot[index.astype(np.int64)],
        last_action=None if last is None else one_hot[int(last[0]) % choices],
    )


def read_poses(trajectory: Trajectory, convention: Convention) -> Tensor:
    """Return the poses of a trajectory's states, float64 `[T, 7]` [m, rad, closure]; angles may jump by full turns.

    Raises:
        DataError: The states do not follow the convention; the trajectory is named.
    """
    return _poses(trajectory, convention, trajectory.states, "its states")


def read_targets(trajectory: Trajectory, convention: Convention) -> Tensor:
    """Return the target poses in a trajectory's actions, float64 `[T-1, 7]` [m, rad, closure].

    Raises:
        DataError: The actions do not follow the convention; the trajectory is named.
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


def _standard_joints(trajectory: Trajectory, convention: Convention) -> Trajectory:
    """Return the trajectory with only joints as states, and their changes or targets as actions."""
    try:
        indices = list(convention.joint_indices(trajectory.states.shape[1]))
    except ConfigError as error:
        raise DataError(f"{trajectory.name}: its states cannot be read as joints: {error}") from error
    joints = trajectory.states[:, indices].astype(np.float64)
    actions, last = trajectory.actions, trajectory.last_action
    if convention.actions == "derived":
        units = convention.units_of_joints(len(indices))
        actions, last = shortest_changes(torch.from_numpy(np.diff(joints, axis=0)), units).numpy(), None
    elif convention.actions == "derived_target":
        actions, last = joints[1:], None
    elif convention.actions != "given":
        actions = _of_joints(trajectory, actions, indices, convention.action_joints)
        last = (
            None if last is None else _of_joints(trajectory, last[None], indices, convention.action_joints)[0]
        )
    return replace(
        trajectory,
        states=np.ascontiguousarray(joints, dtype=np.float32),
        actions=np.ascontiguousarray(actions, dtype=np.float32),
        last_action=None if last is None else last.astype(np.float32),
    )


def _of_joints(
    trajectory: Trajectory, actions: np.ndarray, indices: Sequence[int], order: Sequence[int]
) -> np.ndarray:
    """Return the joints' actions [T-1,J]: at the indices `order`, else laid out as a state, or one for each joint."""
    size = actions.shape[1]
    if max(order, default=-1) >= size:
        raise DataError(
            f"{trajectory.name}: action_joints names index {max(order)}, and its actions have {size} numbers, counted "
            "from 0; name those of the joints."
        )
    if order:
        return actions[:, list(order)]
    if size == trajectory.states.shape[1]:
        return actions[:, list(indices)]
    if size == len(indices):
        return actions
    raise DataError(
        f"{trajectory.name}: its actions have {size} numbers, and its states {len(indices)} joints among "
        f"{trajectory.states.shape[1]} numbers; name the joints that actions are of (joints=INDICES), set "
        "actions=derived to take the changes of all, or actions=given."
    )
