"""What the simulation knows of the object to be handled: where it is, whether it moves, what touches it."""

from __future__ import annotations

from typing import Final

import mujoco
import numpy as np

from envs.scenes.objects import ObjectSpec

#: An object whose centre moves further than this, or that turns further, in one control interval is moving.
_MOVED_M: Final = 0.002
_TURNED_RAD: Final = 0.03
#: An object whose centre is this much higher than at rest is lifted.
_LIFTED_M: Final = 0.01
#: The body that the table belongs to.
_WORLD: Final = 0


class ObjectProbe:
    """Reads the object of one model and data.

    Args:
        model: A model with an object.
        data: Its state.
        scale: Size of the scenes; lengths are converted to scale 1.
    """

    spec: ObjectSpec

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, scale: float = 1.0) -> None:
        self._data, self._scale = data, scale
        start = int(model.joint("object").qposadr[0])
        self._position, self._turn = slice(start, start + 3), slice(start + 3, start + 7)
        names = ("object", "robot/finger_left", "robot/finger_right", "robot/hand")
        self._body, self._left, self._right, self._hand = (model.body(name).id for name in names)
        self._body_of_geom = model.geom_bodyid.tolist()
        self._hands = {self._left, self._right, self._hand}
        self._before = (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))
        self._touched = False

    @property
    def position_m(self) -> np.ndarray:
        """Its centre `[3]`."""
        return self._data.qpos[self._position] / self._scale

    @property
    def yaw_rad(self) -> float:
        """Its rotation about z."""
        w, x, y, z = self._data.qpos[self._turn]
        return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))

    @property
    def tilt_rad(self) -> float:
        """The angle between its axis and the vertical."""
        _, x, y, _ = self._data.qpos[self._turn]
        return float(np.arccos(np.clip(1 - 2 * (x * x + y * y), -1.0, 1.0)))

    @property
    def lift_m(self) -> float:
        """How much higher its centre is than when it stands on the table."""
        return float(self.position_m[2]) - self.spec.height_m / 2

    @property
    def is_lifted(self) -> bool:
        """Whether it is visibly higher than at rest, and not because it tipped over on the table."""
        return self.lift_m > _LIFTED_M and _WORLD not in self._touching()

    @property
    def is_moving(self) -> bool:
        """Whether it moved during the last control interval."""
        position, turn = self._before
        turned = 2 * np.arccos(min(1.0, abs(float(turn @ self._data.qpos[self._turn]))))
        return bool(np.linalg.norm(self.position_m - position) > _MOVED_M or turned > _TURNED_RAD)

    @property
    def is_touched(self) -> bool:
        """Whether hand or fingers touch it now."""
        return not self._hands.isdisjoint(self._touching())

    @property
    def was_touched(self) -> bool:
        """Whether hand or fingers touched it during the last control interval: a push leaves a gap at its end."""
        return self._touched or self.is_touched

    def watch(self) -> None:
        """Note whether it is touched; called after each step of the physics, since a hit is short."""
        self._touched = self._touched or self.is_touched

    @property
    def is_grasped(self) -> bool:
        """Whether both fingers touch it."""
        return {self._left, self._right} <= self._touching()

    def remember(self) -> None:
        """Begin a control interval: `is_moving` and `was_touched` are about what comes after."""
        self._before = self.position_m, self._data.qpos[self._turn].copy()
        self._touched = False

    def _touching(self) -> set[int]:
        """Return the bodies in contact with it."""
        if self._data.ncon == 0:
            return set()
        body, mine = self._body_of_geom, self._body
        # Plain lists: arrays of a few entries are slower, and this runs after each step of the physics.
        pairs = [(body[first], body[second]) for first, second in self._data.contact.geom.tolist()]
        return {other for pair in pairs if mine in pair for other in pair if other != mine}
