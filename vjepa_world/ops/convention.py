"""In words: where a dataset's states keep a pose, how they write it, and what its actions are. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vjepa_world.errors import ConfigError, nearest

#: Numbers that a rotation of each kind takes. Euler orders in lower case turn about the fixed axes (extrinsic), in
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


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a dataset writes the robot's pose in its states, and what its actions mean.

    The default is ours, V-JEPA 2-AC's: x y z [m], extrinsic xyz Euler angles [rad], gripper closure [0 open, 1
    closed], robot base frame. Without a position (`position_at=()`) states hold no pose and are taken as they are.

    Attributes:
        position_at: Places of x, y, z in a state; () where it holds no pose.
        position_unit: m, cm or mm.
        rotation: How the rotation is written: none, an Euler order (xyz fixed axes, XYZ moving axes), rotvec,
            quat_xyzw, quat_wxyz, or rot6d (the first two columns of the matrix).
        rotation_at: Its places in a state.
        angle_unit: rad or deg.
        gripper_at: Its places in a state, summed (two fingers); () where there is none.
        gripper_open: What the sum reads when the gripper is open.
        gripper_closed: What it reads when closed.
        frame: Pose of the dataset's frame in the robot's base, x y z [m] and extrinsic xyz Euler angles [rad].
        actions: derived from consecutive states (as V-JEPA 2-AC does), delta (already ours), target (the pose that is
            to be reached, written as the states are) or given (taken as they are).
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
    actions: Literal["derived", "delta", "target", "given"] = "derived"

    def __post_init__(self) -> None:
        for name in ("position_at", "rotation_at", "gripper_at", "frame"):  # JSON has no tuples
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.rotation not in ROTATIONS:
            raise ConfigError(f"rotation '{self.rotation}' is not known; {nearest(self.rotation, ROTATIONS)}")
        if len(self.position_at) not in (0, 3):
            raise ConfigError(f"position_at has {len(self.position_at)} places; give 3 (x, y, z), or none.")
        if self.has_pose and len(self.rotation_at) != ROTATIONS[self.rotation]:
            raise ConfigError(
                f"rotation_at has {len(self.rotation_at)} places, and rotation {self.rotation} is written in "
                f"{ROTATIONS[self.rotation]} numbers; name as many."
            )
        if self.gripper_open == self.gripper_closed:
            raise ConfigError(
                f"gripper_open and gripper_closed are both {self.gripper_open:g}; give what it reads open and closed."
            )
        if not self.has_pose and self.actions in ("derived", "target"):
            raise ConfigError(
                f"actions '{self.actions}' are made from poses, and position_at is empty; give the places of the "
                "pose, or actions=given."
            )

    @property
    def has_pose(self) -> bool:
        """Whether the states hold an end-effector pose."""
        return bool(self.position_at)


#: Numbers of unknown meaning, taken as they are.
PLAIN = Convention(position_at=(), rotation="none", rotation_at=(), gripper_at=(), actions="given")
