"""The physics of an episode: the arm, the table and what lies on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.arm.action import measured_state
from envs.arm.controller import ArmController, Command
from envs.arm.limits import Workspace
from envs.arm.model import build_model
from envs.arm.robots import Robot
from envs.cameras import Mount
from envs.errors import EnvError
from envs.object_probe import ObjectProbe
from envs.scenes.editor import SceneEditor
from envs.scenes.scene import Scene


@dataclass(frozen=True, kw_only=True, eq=False)
class Physics:
    """An exact copy of the state of a simulation.

    Attributes:
        data: MuJoCo's state.
        commanded: What the controller remembers.
    """

    data: mujoco.MjData
    commanded: tuple[np.ndarray, float]


class Simulation:
    """Arm, table and objects; it has no randomness and draws no pictures.

    Args:
        height: Height of the largest picture to be rendered [pixels].
        width: Width of the largest picture to be rendered [pixels].
        workspace: Where the TCP may be sent, at scale 1.
        mounts: The nominal place of each fixed camera, at scale 1.
        robot: The robot.
        with_object: Whether scenes have an object to be handled.

    Attributes:
        workspace: Where the TCP may be sent.
        scale: Size of this robot's scenes: lengths in scenes and tasks, which are for scale 1, are multiplied by it.
    """

    def __init__(
        self,
        height: int,
        width: int,
        workspace: Workspace,
        mounts: Mapping[str, Mount],
        robot: Robot,
        *,
        with_object: bool = False,
    ) -> None:
        self.robot, self.scale = robot, robot.scale
        self.model = build_model(height, width, robot, with_object=with_object)
        self.data = mujoco.MjData(self.model)
        self.workspace = robot.workspace(workspace)
        self.arm = ArmController(self.model, self.data, self.workspace, robot)
        self._editor = SceneEditor(
            self.model, {name: mount.scaled(robot.scale) for name, mount in mounts.items()}
        )
        self._object = ObjectProbe(self.model, self.data, self.scale) if with_object else None

    @property
    def texture_id(self) -> int:
        """The texture that `show` changes."""
        return self._editor.texture_id

    @property
    def has_object(self) -> bool:
        """Whether scenes have an object to be handled."""
        return self._object is not None

    @property
    def object(self) -> ObjectProbe:
        """The object to be handled."""
        if self._object is None:
            raise EnvError("this task has no object: use one that has, such as 'grasp'.")
        return self._object

    def show(self, scene: Scene) -> None:
        """Edit the model to be `scene`; `place` puts its objects at their positions."""
        self._editor.apply(scene.scaled(self.scale))
        if self._object is not None and scene.object is not None:
            self._object.spec = scene.object

    def place(self, pose: np.ndarray, name: str) -> None:
        """Put the arm at rest at a pose `[7]`, at scale 1, and the objects at their positions.

        Raises:
            EnvError: If the arm cannot reach the pose, which the message calls `name`.
        """
        pose = scaled_position(pose, self.scale)
        joints, reached = self.arm.joints_for(pose)
        if not reached:
            raise EnvError(
                f"{name} {pose.tolist()} is out of the arm's reach: give a pose the arm has been in."
            )
        mujoco.mj_resetData(self.model, self.data)
        self.arm.place(joints, pose[3:6], float(pose[6]))
        self.arm.settle()
        if self._object is not None:
            self._object.remember()

    def step(self, action: np.ndarray) -> Command:
        """Carry out one action `[7]`, within its bounds, for one control interval."""
        if self._object is None:
            return self.arm.step(action)
        self._object.remember()
        return self.arm.step(action, self._object.watch)

    @property
    def tcp_m(self) -> np.ndarray:
        """The TCP's position `[3]` at scale 1."""
        return self.arm.pose()[:3] / self.scale

    @property
    def closed_fingers_m(self) -> np.ndarray:
        """Where the fingers are when they are closed, `[3]` at scale 1."""
        return self.arm.closed_fingers_m() / self.scale

    @property
    def configuration(self) -> np.ndarray:
        """The positions of all joints, of the arm and of the objects, `[Q]`."""
        return self.data.qpos.copy()

    def state(self) -> np.ndarray:
        """Return the measured pose, float32 `[7]`."""
        return measured_state(self.arm.pose())

    def save(self) -> Physics:
        """Return a copy of the state."""
        data = mujoco.MjData(self.model)
        mujoco.mj_copyData(data, self.model, self.data)
        return Physics(data=data, commanded=self.arm.commanded)

    def restore(self, physics: Physics) -> None:
        """Go back to a saved state of the same scene."""
        mujoco.mj_copyData(self.data, self.model, physics.data)
        self.arm.commanded = physics.commanded
        if self._object is not None:
            self._object.remember()


def scaled_position(pose: np.ndarray, scale: float) -> np.ndarray:
    """Return a pose or an action `[7]` with its first three entries multiplied."""
    return np.concatenate([pose[:3] * scale, pose[3:]])
