"""The convention of a dataset with what the command line says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vjepa_world.config.building import build
from vjepa_world.ops.convention import Convention, resolve_joints

if TYPE_CHECKING:
    from vjepa_world.data.trajectories.trajectory import TrajectoryDataset


def convention_over(dataset: TrajectoryDataset, given: Mapping[str, Any]) -> Convention:
    """Return the convention that a dataset declares with other keys laid over it; over ours where it declares nothing.

    Joints that are given take the place of a declared pose, and a pose that of declared joints.

    Raises:
        ConfigError: An unknown key or a value that is not allowed.
    """
    declared = dataset.convention
    if not given:
        return declared
    base = asdict(declared if declared.has_pose or declared.has_joints else Convention())
    if "joints" in given:
        base |= {"action_joints": ()}  # those of the joints that were declared
    if given.get("joints", "none") != "none":
        base |= {"position_at": ()}
    elif "position_at" in given and "joints" not in given:
        base |= {"joints": "none", "joint_units": (), "joint_speeds": (), "action_joints": ()}
    found: Convention = build(Convention, {**base, **given}, "convention", "convention")
    return resolve_joints(found, dataset.state_names, dataset.action_names)
