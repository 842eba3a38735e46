"""States around the goals of an episode: the same scene with the arm or the object elsewhere by a known distance.

They are set without physics, so that everything else is exactly as in the goal.

Legend: N states, Q coordinates of all joints, G sub-goals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import mujoco
import numpy as np

from envs.arm.rotations import matrix_to_euler
from envs.errors import EnvError
from envs.object_probe import ObjectProbe
from envs.simulation import Simulation
from envs.tasks.base import Pictures

#: What differs from the goal; a held object moves with the arm.
Moved = Literal["arm", "object", "arm with object"]

#: Takes a picture of a state with every camera.
Photograph = Callable[[mujoco.MjData], Pictures]

#: Contacts may be this much deeper than those of the goal.
_DEEPER_M: Final = 0.001
#: States that are tried for each one that is wanted.
_TRIES: Final = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class GoalStates:
    """States around one goal.

    Attributes:
        goal: Name of the goal or sub-goal.
        moved: What is elsewhere than in the goal.
        radius_m: All states are within this distance.
        goal_images: Pictures of the goal, uint8 `[H, W, 3]`, by their names in an observation.
        images: Pictures of the states, uint8 `[N, H, W, 3]`, by the same names.
        distances_m: From where in the goal what is moved is, `[N]`.
    """

    goal: str
    moved: Moved
    radius_m: float
    goal_images: Pictures
    images: Pictures
    distances_m: np.ndarray


def states_around(
    simulation: Simulation,
    goal: str,
    configuration: np.ndarray,
    *,
    photograph: Photograph,
    count: int,
    radii_m: tuple[float, ...],
    rng: np.random.Generator,
) -> list[GoalStates]:
    """Return states around a goal, of each kind that there is and within each radius.

    If the gripper holds an object off the table, both move together. Otherwise the arm moves and the object, if there
    is one, stays; and the object moves over the table and the arm stays. Places are drawn uniformly from the ball (on
    the table, the disc) around the goal's, without those outside of the workspace or where something is in something
    else.

    Args:
        simulation: Shows the scene. It is not changed.
        goal: Name of the goal.
        configuration: Positions of all joints in it, `[Q]`.
        photograph: Takes the pictures.
        count: N.
        radii_m: Largest distances.
        rng: Source of all randomness.

    Raises:
        EnvError: If fewer than N states of a kind are found.
    """
    mover = _Mover(simulation, configuration)
    goal_images = photograph(mover.data)
    found = []
    for moved in mover.kinds:
        for radius in radii_m:
            pictures, distances = list[Pictures](), list[float]()
            for distance in mover.states(moved, radius, count, rng):
                pictures.append(photograph(mover.data))
                distances.append(distance)
            found.append(
                GoalStates(
                    goal=goal,
                    moved=moved,
                    radius_m=radius,
                    goal_images=goal_images,
                    images={name: np.stack([shown[name] for shown in pictures]) for name in goal_images},
                    distances_m=np.array(distances),
                )
            )
    return found


class _Mover:
    """Puts the arm or the object of a goal elsewhere, on a copy of the state.

    Args:
        simulation: Shows the scene.
        configuration: Positions of all joints in the goal, `[Q]`.

    Attributes:
        data: The state that was set last; at first the goal.
        kinds: What may be moved.
    """

    def __init__(self, simulation: Simulation, configuration: np.ndarray) -> None:
        self._simulation, self._goal = simulation, configuration
        self._model = simulation.model
        self.data = mujoco.MjData(self._model)
        self._site = self._model.site("robot/tcp").id
        self._set(configuration)
        self._tcp_m = self.data.site_xpos[self._site].copy()
        self._rotation = self.data.site_xmat[self._site].reshape(3, 3).copy()
        self._deepest_m = self._depth_m() + _DEEPER_M * simulation.scale
        self.kinds: tuple[Moved, ...] = ("arm",)
        if simulation.has_object:
            start = int(self._model.joint("object").qposadr[0])
            self._place, self._turn = slice(start, start + 3), slice(start + 3, start + 7)
            probe = ObjectProbe(self._model, self.data, simulation.scale)
            probe.spec = simulation.object.spec
            held = probe.is_grasped and probe.is_lifted
            self.kinds = ("arm with object",) if held else ("arm", "object")

    def states(self, moved: Moved, radius_m: float, count: int, rng: np.random.Generator) -> Iterator[float]:
        """Set `count` states, one after the other, and yield the distance of each.

        Raises:
            EnvError: If fewer are found.
        """
        left = count
        for _ in range(_TRIES * count):
            if not left:
                return
            way = radius_m * _in_unit_ball(rng, 2 if moved == "object" else 3)
            distance = self._moved_object(way) if moved == "object" else self._moved_arm(moved, way)
            if distance is not None and distance <= radius_m and self._depth_m() <= self._deepest_m:
                left -= 1
                yield distance
        if left:
            raise EnvError(
                f"only {count - left} of {count} states with the {moved} elsewhere within {radius_m} m of the goal "
                f"are possible in {_TRIES * count} tries: ask for fewer, or for a larger radius."
            )

    def _moved_arm(self, moved: Moved, way_m: np.ndarray) -> float | None:
        """Move the TCP by `way_m [3]`; return how far it went, None if it cannot go there."""
        target, box = self._tcp_m + way_m, self._simulation.workspace
        if (target < box.command_low_m).any() or (target > box.command_high_m).any():
            return None
        arm = self._simulation.robot.arm
        pose = np.array([*target, *matrix_to_euler(self._rotation), 0.0])
        joints, reached = self._simulation.arm.joints_for(pose, self._goal[arm])
        if not reached:
            return None
        configuration = self._goal.copy()
        configuration[arm] = joints
        self._set(configuration)
        if moved == "arm with object":
            self._carry(configuration)
        return float(np.linalg.norm(self.data.site_xpos[self._site] - self._tcp_m))

    def _carry(self, configuration: np.ndarray) -> None:
        """Put the object to where it is in the goal relative to the hand."""
        turn = self.data.site_xmat[self._site].reshape(3, 3) @ self._rotation.T
        offset = turn @ (self._goal[self._place] - self._tcp_m)
        quaternion, turned = np.empty(4), np.empty(4)
        mujoco.mju_mat2Quat(quaternion, turn.ravel())
        mujoco.mju_mulQuat(turned, quaternion, self._goal[self._turn])
        configuration[self._place] = self.data.site_xpos[self._site] + offset
        configuration[self._turn] = turned
        self._set(configuration)

    def _moved_object(self, way_m: np.ndarray) -> float | None:
        """Move the object over the table by `way_m [3]`; return how far it went, None if it cannot lie there."""
        target, box = self._goal[self._place] + way_m, self._simulation.workspace
        if (target[:2] < box.command_low_m[:2]).any() or (target[:2] > box.command_high_m[:2]).any():
            return None
        configuration = self._goal.copy()
        configuration[self._place] = target
        self._set(configuration)
        return float(np.linalg.norm(way_m))

    def _set(self, configuration: np.ndarray) -> None:
        self.data.qpos[:] = configuration
        mujoco.mj_forward(self._model, self.data)

    def _depth_m(self) -> float:
        """Return how far things are in each other, at the deepest contact."""
        return max(0.0, -float(self.data.contact.dist.min())) if self.data.ncon else 0.0


def _in_unit_ball(rng: np.random.Generator, dimensions: int) -> np.ndarray:
    """Return a point `[3]` of the unit ball, or of the horizontal unit disc, drawn uniformly."""
    drawn = np.zeros(3)
    drawn[:dimensions] = rng.normal(size=dimensions)
    return drawn / np.linalg.norm(drawn) * rng.uniform() ** (1 / dimensions)
