"""The convention of a dataset: which numbers of a state are a pose or joints, and what actions mean. No torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vjepa_world.errors import ConfigError, nearest

#: Numbers of a rotation in each representation. Euler orders in lower case rotate about the fixed axes (extrinsic), in
#: upper case about the moving ones (intrinsic), as in SciPy.
ROTATIONS = {
    "none": 0,
    **dict.fromkeys(("xyz", "xzy", "yxz", "yzx", "zxy", "zyx"), 3),
    **dict.fromkeys(("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"), 3),
    "rotvec": 3,
    "quat_xyzw": 4,
    "quat_wxyz": 4,
    "rot6d": 6,
}

#: Metres in a unit of length, by its name.
LENGTHS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001}


#: Units of joints: angles, lengths, and the ranges that drivers normalise to: normalised is -100 to 100 (SO-100,
#: SO-101), percent 0 to 100 (their gripper), share 0 to 1. Empty if it is not known.
JOINT_UNITS = ("", "rad", "deg", "m", "mm", "normalised", "percent", "share")

ActionMeaning = Literal["derived", "derived_target", "delta", "target", "given"]

#: Names of joints contain one of these: `shoulder_pan.pos`, `left_elbow`, `joint_3`, `motor_0`.
_JOINT = re.compile(
    r"joint|motor|shoulder|elbow|forearm|waist|wrist|finger|gripper|(^|[^a-z])(hip|knee|ankle|torso|neck|jaw|j\d+)([^a-z]|$)"
)
#: Names that contain one of these are poses, velocities or forces.
_NO_JOINT = re.compile(
    r"(^|[^a-z])([xyz]|qx|qy|qz|qw|vel|velocity|velocities|torque|torques|effort|efforts|current|force)([^a-z]|$)"
)


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a dataset represents the robot's pose or its joints in its states, and what its actions mean.

    The default is the convention of V-JEPA 2-AC, which the models use: x y z [m], extrinsic xyz Euler angles [rad],
    gripper closure [0 open, 1 closed], robot base frame. Without a position (`position_at=()`) states hold no pose and
    are used as they are.

    With `joints` they hold joint positions instead, which stay in their own units, including the gripper.

    Attributes:
        position_at: Indices of x, y, z in a state; () if it holds no pose.
        position_unit: m, cm or mm.
        rotation: How the rotation is represented: none, an Euler order (xyz fixed axes, XYZ moving axes), rotvec,
            quat_xyzw, quat_wxyz, or rot6d (the first two columns of the matrix).
        rotation_at: Its indices in a state.
        angle_unit: rad or deg.
        gripper_at: Indices of the gripper in a state, summed (two fingers); () for no gripper.
        gripper_open: Value of the sum when the gripper is open.
        gripper_closed: Value of the sum when it is closed.
        frame: Pose of the dataset's frame in the robot's base, x y z [m] and extrinsic xyz Euler angles [rad].
        joints: Indices of the joints in a state; all, none, or auto: all if every number of the state has the name of
            a joint.
        action_joints: Indices of the joints in an action, in the order of `joints`; () finds them by their names, else
            takes them as they are in a state.
        joint_units: Units of the joints, one for all or one each: rad, deg, m, mm, normalised (-100 to 100), percent (0
            to 100), share (0 to 1); empty if it is not known.
        joint_speeds: Largest speeds of plans [unit/s], one for all or one each; () takes the data's
            largest step.
        actions: derived (from consecutive states, as V-JEPA 2-AC does), delta (of poses in the default convention),
            target (the pose or the joints to be reached, represented as in the states) or given (used as they are). For
            joints, derived are the changes and derived_target the next positions.
        choices: Number of choices of discrete actions, which files have as an index from 0, and models as a one-hot
            vector; 0 for numbers.
    """

    position_at: tuple[int, ...] = (0, 1, 2)
    position_unit: Literal["m", "cm", "mm"] = "m"
    rotation: str = "xyz"
    rotation_at: tuple[int, ...] = (3, 4, 5)
    angle_unit: Literal["rad", "deg"] = "rad"
    gripper_at: tuple[int, ...] = (6,)
    gripper_open: float = 0.0
    gripper_closed: float = 1.0
    frame: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    joints: tuple[int, ...] | Literal["auto", "all", "none"] = "auto"
    action_joints: tuple[int, ...] = ()
    joint_units: str | tuple[str, ...] = ()
    joint_speeds: float | tuple[float, ...] = ()
    actions: ActionMeaning = "derived"
    choices: int = 0

    def __post_init__(self) -> None:
        for name in (
            "position_at",
            "rotation_at",
            "gripper_at",
            "frame",
            "action_joints",
        ):  # JSON has no tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._read_joints()
        if self.rotation not in ROTATIONS:
            raise ConfigError(f"rotation '{self.rotation}' is not known; {nearest(self.rotation, ROTATIONS)}")
        if len(self.position_at) not in (0, 3):
            raise ConfigError(f"position_at has {len(self.position_at)} indices; give 3 (x, y, z), or none.")
        if self.has_pose and len(self.rotation_at) != ROTATIONS[self.rotation]:
            raise ConfigError(
                f"rotation_at has {len(self.rotation_at)} indices, and rotation {self.rotation} is written in "
                f"{ROTATIONS[self.rotation]} numbers; name as many."
            )
        if self.gripper_open == self.gripper_closed:
            raise ConfigError(
                f"gripper_open and gripper_closed are both {self.gripper_open:g}; give what it reads open and closed."
            )
        if self.choices < 0 or (self.choices and self.actions != "given"):
            raise ConfigError(
                f"choices is {self.choices} and actions '{self.actions}'; discrete actions are choices=N of at least 1 "
                "with actions=given."
            )
        made = ("derived", "target") if self.joints == "auto" else ("derived", "derived_target", "target")
        if not (self.has_pose or self.has_joints) and self.actions in made:
            raise ConfigError(
                f"actions '{self.actions}' are made from poses or joints, and position_at is empty; give the indices "
                "of the pose, joints=all where states are joints, or actions=given."
            )
        if self.has_pose and self.joints == "none" and self.actions == "derived_target":
            raise ConfigError(
                "actions 'derived_target' are the next positions of joints; changes of a pose are actions=derived."
            )

    def _read_joints(self) -> None:
        """Convert the options of joints to tuples, and remove the default pose if there are joints."""
        units = (self.joint_units,) if isinstance(self.joint_units, str) else tuple(self.joint_units)
        speeds = (
            (self.joint_speeds,) if isinstance(self.joint_speeds, int | float) else tuple(self.joint_speeds)
        )
        object.__setattr__(self, "joint_units", units)
        object.__setattr__(self, "joint_speeds", tuple(float(speed) for speed in speeds))
        for unit in units:
            if unit not in JOINT_UNITS:
                raise ConfigError(
                    f"joint_units has '{unit}', which is not known; {nearest(unit, JOINT_UNITS[1:])}"
                )
        if not all(0 < speed < float("inf") for speed in speeds):
            raise ConfigError(f"joint_speeds is {list(speeds)}; give speeds above 0, in units per second.")
        if isinstance(self.joints, str):
            if self.joints not in ("auto", "all", "none"):
                raise ConfigError(
                    f"joints is '{self.joints}'; give the indices of the joints in a state, as 0,1,2, or all, none or "
                    "auto."
                )
        else:
            self._check_indices(tuple(self.joints))
        if self.joints == "none" and (units or speeds or self.action_joints):
            raise ConfigError(
                "joints is none, and joint_units, joint_speeds or action_joints is given; leave one of them out."
            )
        if len(set(self.action_joints)) != len(self.action_joints) or min(self.action_joints, default=0) < 0:
            raise ConfigError(
                f"action_joints is {list(self.action_joints)}; give the indices of the joints in an action, each once, "
                "counted from 0."
            )
        if self.has_joints:
            self._drop_default_pose()

    def _check_indices(self, joints: tuple[int, ...]) -> None:
        object.__setattr__(self, "joints", joints)
        if not joints or len(set(joints)) != len(joints) or min(joints) < 0:
            raise ConfigError(
                f"joints is {list(joints)}; give the indices of the joints in a state, each once, counted from 0."
            )
        for name in ("joint_units", "joint_speeds"):
            count = len(getattr(self, name))
            if count not in (0, 1, len(joints)):
                raise ConfigError(
                    f"{name} has {count} entries for {len(joints)} joints; give one for all, or one for each."
                )
        if len(self.action_joints) not in (0, len(joints)):
            raise ConfigError(
                f"action_joints has {len(self.action_joints)} entries for {len(joints)} joints; give one for each."
            )

    def _drop_default_pose(self) -> None:
        if self.position_at not in ((), (0, 1, 2)):
            raise ConfigError(
                f"joints is {self.joints} and position_at {list(self.position_at)}; a state is read as joints or as a "
                "pose: give one of them."
            )
        for name in ("position_at", "rotation_at", "gripper_at"):
            object.__setattr__(self, name, ())
        object.__setattr__(self, "rotation", "none")

    @property
    def has_pose(self) -> bool:
        """Whether the states hold an end-effector pose."""
        return bool(self.position_at)

    @property
    def has_joints(self) -> bool:
        """Whether the states hold joint positions."""
        return self.joints not in ("auto", "none")

    @property
    def absolute_actions(self) -> bool:
        """Whether standardised actions are targets; those of poses become changes."""
        return self.has_joints and self.actions in ("target", "derived_target")

    def joint_indices(self, size: int) -> tuple[int, ...]:
        """Return the indices of the joints in a state of `size` numbers.

        Raises:
            ConfigError: If the state is too short, or there are not as many units or speeds as joints.
        """
        indices = tuple(range(size)) if isinstance(self.joints, str) else self.joints
        if max(indices, default=0) >= size:
            raise ConfigError(
                f"joints names index {max(indices)}, and a state has {size} numbers, counted from 0; name those of the "
                "joints."
            )
        replace(self, joints=indices)  # checks the number of units and speeds
        return indices

    def units_of_joints(self, count: int) -> tuple[str, ...]:
        """Return the unit of each of `count` joints; an empty one if it is not known."""
        units = tuple(self.joint_units)
        return units if len(units) == count else (units or ("",)) * count

    def speeds_of_joints(self, count: int) -> tuple[float, ...]:
        """Return the largest speed of each of `count` joints [unit/s]; +inf if none is declared."""
        assert isinstance(self.joint_speeds, tuple)
        speeds = self.joint_speeds
        return speeds if len(speeds) == count else (speeds or (float("inf"),)) * count


#: Numbers of unknown meaning, used as they are.
PLAIN = Convention(position_at=(), rotation="none", rotation_at=(), gripper_at=(), actions="given")


def is_joint_name(name: str) -> bool:
    """Return whether a name is that of a joint position, as `shoulder_pan.pos`, `joint_3` and `waist` are."""
    name = name.lower()
    return not _NO_JOINT.search(name) and bool(name.endswith(".pos") or _JOINT.search(name))


def resolve_joints(
    convention: Convention, state_names: Sequence[str], action_names: Sequence[str]
) -> Convention:
    """Return the convention with the indices of its joints, found by name where it leaves them to that (auto).

    If every number of the state has the name of a joint, the state is joints, and never a pose by default: joints 0 to
    2 are not metres. Actions of a dataset that declares nothing are then targets if they have the states' names and are
    positions (`.pos`, LeRobot's); else they are used as they are.

    Args:
        convention: The convention that the data declares, or that the user gives.
        state_names: One for each number of a state.
        action_names: One for each number of an action.

    Raises:
        ConfigError: If options of joints are given, and neither `joints` nor the names declare any; or as
            :meth:`Convention.joint_indices`.
    """
    if convention.joints == "none":
        return convention
    if convention.has_joints:
        return _with_order(
            replace(convention, joints=convention.joint_indices(len(state_names))), state_names, action_names
        )
    named = bool(state_names) and all(map(is_joint_name, state_names))
    by_default = convention.position_at in ((), (0, 1, 2))
    if not (named and by_default):
        options = convention.joint_units or convention.joint_speeds or convention.action_joints
        if options or convention.actions == "derived_target":
            raise ConfigError(
                "joint_units, joint_speeds, action_joints or actions=derived_target is given, and neither joints nor "
                f"the names of the states ({', '.join(state_names)}) say that they are joints; give joints=all or "
                "their indices."
            )
        return convention
    actions = convention.actions
    positions = same_names(state_names, action_names) and all(name.endswith(".pos") for name in state_names)
    if positions and actions == "given" and not convention.has_pose:
        actions = "target"
    found = replace(convention, joints=tuple(range(len(state_names))), actions=actions)
    return _with_order(found, state_names, action_names)


def same_names(state_names: Sequence[str], action_names: Sequence[str]) -> bool:
    """Return whether the numbers of an action have the same names as those of a state, in any order."""
    return sorted(state_names) == sorted(action_names)


def _with_order(
    convention: Convention, state_names: Sequence[str], action_names: Sequence[str]
) -> Convention:
    """Return the convention with the indices of the joints in an action, if their names are in another order."""
    assert not isinstance(convention.joints, str)
    joints = [state_names[index] for index in convention.joints]
    if max(convention.action_joints, default=-1) >= len(action_names):
        raise ConfigError(
            f"action_joints names index {max(convention.action_joints)}, and an action has {len(action_names)} "
            "numbers, counted from 0; name those of the joints."
        )
    if convention.action_joints or len(set(joints)) < len(joints):
        return convention
    if any(list(action_names).count(name) != 1 for name in joints):
        return convention
    order = tuple(list(action_names).index(name) for name in joints)
    same_size = len(action_names) == len(state_names)
    usual = convention.joints if same_size else tuple(range(len(joints)))
    return convention if order == usual else replace(convention, action_joints=order)
