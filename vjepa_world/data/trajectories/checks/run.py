"""Runs all checks of robot data: units, orders, directions, clocks, cameras. Each check documents its rule."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vjepa_world.data.trajectories.checks.actions import action_lag, action_scale
from vjepa_world.data.trajectories.checks.findings import SEVERITIES, Check, Finding, prepare_check_input
from vjepa_world.data.trajectories.checks.frames import check_camera, state_range
from vjepa_world.data.trajectories.checks.gripper import gripper_direction, gripper_range
from vjepa_world.data.trajectories.checks.joints import joint_actions, joint_jumps, joint_units
from vjepa_world.data.trajectories.checks.pose import angle_unit, jumps, position_unit
from vjepa_world.data.trajectories.checks.quaternion import quaternion_length, quaternion_order
from vjepa_world.data.trajectories.checks.rows import clock, constant_columns, lengths
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.ops.convention import Convention

__all__ = ["CHECKS", "Finding", "check_images", "check_numbers", "worst_first"]

#: Every check of numbers; images have `check_images`.
CHECKS: tuple[Check, ...] = (
    lengths,
    clock,
    constant_columns,
    position_unit,
    angle_unit,
    jumps,
    joint_units,
    joint_jumps,
    joint_actions,
    quaternion_length,
    quaternion_order,
    gripper_range,
    gripper_direction,
    action_lag,
    action_scale,
)


def check_numbers(
    episodes: Sequence[Trajectory],
    convention: Convention,
    state_names: Sequence[str] = (),
    action_names: Sequence[str] = (),
) -> list[Finding]:
    """Run every check of states, actions and times.

    Args:
        episodes: The trajectories as their files have them.
        convention: How their numbers are written, as declared.
        state_names: One name for each entry of a state.
        action_names: One name for each entry of an action.

    Returns:
        The findings, the worst first.
    """
    data, findings = prepare_check_input(episodes, convention, state_names, action_names)
    return worst_first([*findings, *(finding for check in CHECKS for finding in check(data))])


def check_images(episodes: Sequence[Trajectory], cameras: Sequence[str]) -> list[Finding]:
    """Check every frame of episodes: each row has one, not of a single colour, not frozen while the state moves."""
    if not episodes:
        return []
    scale = state_range(episodes)
    return worst_first(finding for camera in cameras for finding in check_camera(episodes, camera, scale))


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings sorted by severity."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
