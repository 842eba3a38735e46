"""The robots that an environment can have."""

from envs.arm.robots.base import Gripper, Robot, WristCamera
from envs.arm.robots.fr3 import FR3
from envs.arm.robots.panda import PANDA
from envs.arm.robots.so101 import SO101
from envs.errors import EnvError

#: The robots of this package by their short names.
ROBOTS: dict[str, Robot] = {robot.name: robot for robot in (PANDA, FR3, SO101)}


def named_robot(robot: object) -> Robot:
    """Return a robot by its name; a `Robot` is returned as it is.

    Raises:
        EnvError: If there is none of that name.
    """
    if isinstance(robot, Robot):
        return robot
    if not isinstance(robot, str) or robot not in ROBOTS:
        raise EnvError(f"robot {robot!r} is unknown: use one of {sorted(ROBOTS)} or a Robot.")
    return ROBOTS[robot]


__all__ = ["FR3", "PANDA", "ROBOTS", "SO101", "Gripper", "Robot", "WristCamera", "named_robot"]
