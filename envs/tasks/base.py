"""What a task is: the part of an environment that says what an episode asks of the arm.

`envs.ArmEnv` owns the arm, the pictures and the clock. A task draws an episode, makes its goal in the simulation,
goes to its start, measures how far the goal is, and has an expert that achieves it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from envs.arm.action import check_pose
from envs.arm.controller import DOWN_EULER_RAD
from envs.arm.limits import Workspace
from envs.arm.robots import Robot
from envs.cameras import Mount
from envs.errors import EnvError
from envs.scenes.factors import FactorPart, check_factors
from envs.scenes.scene import Scene
from envs.scenes.variation import Variation
from envs.simulation import Simulation, scaled_position

#: Pictures of the cameras, uint8 `[H, W, 3]` each (of sub-goals `[G, H, W, 3]`), by their names in an observation.
Pictures = Mapping[str, np.ndarray]
#: Takes a picture with every camera.
Photograph = Callable[[], Pictures]


class Policy(Protocol):
    """Chooses actions."""

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`, within the bounds."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """What is drawn for an episode.

    Attributes:
        scene: Its looks and its objects.
        start: The arm's pose at the start, `[7]`.
        target: What is to be reached; its meaning is the task's.
    """

    scene: Scene
    start: np.ndarray
    target: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Goal:
    """What an episode is to end in, as it was achieved in the simulation.

    Attributes:
        images: Pictures of it.
        state: The arm's measured pose in it, float32 `[7]`.
        object_m: Where the object's centre is in it, `[3]`, in tasks that have one.
        subgoal_images: Pictures on the way to it; the last of each camera is the goal's.
        configurations: Positions of all joints in these pictures, `[G, Q]`; the last are the goal's.
    """

    images: Pictures
    state: np.ndarray
    object_m: np.ndarray | None = None
    subgoal_images: Pictures | None = None
    configurations: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Status:
    """How far an episode is.

    Attributes:
        distance_m: What is left to the goal.
        success: Whether the goal is achieved.
        flags: What else is true, by its name in `info`.
        subgoals: Which sub-goals are achieved at present, bool `[G]`.
    """

    distance_m: float
    success: bool
    flags: Mapping[str, bool] = field(default_factory=dict)
    subgoals: np.ndarray | None = None


class Task(ABC):
    """Base class of tasks. An instance has no state: an episode's is in its `Goal` and in the simulation.

    What a task states, draws and reads in metres is for scenes of scale 1: the simulation converts it for a robot whose
    scenes have another size.

    Attributes:
        name: Its short name.
        summary: One line for listings.
        max_steps: Actions after which an episode is cut off, unless the environment is told otherwise.
        workspace: Where the TCP may be sent.
        mounts: The nominal place of each fixed camera.
        with_object: Whether scenes have an object to be handled.
        poses: The poses that the options of a reset may give.
        subgoals: Names of the sub-goals; the last is the goal.
        phases: Names of all that may be sub-goals, in order; the last is the goal. By default the sub-goals.
        factor_parts: Which factors of variation the task has.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    max_steps: ClassVar[int]
    workspace: ClassVar[Workspace]
    mounts: ClassVar[Mapping[str, Mount]]
    with_object: ClassVar[bool] = False
    poses: ClassVar[tuple[str, ...]] = ()
    subgoals: tuple[str, ...] = ()
    phases: ClassVar[tuple[str, ...]] = ()
    factor_parts: ClassVar[tuple[FactorPart, ...]] = ("scene",)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.phases = cls.phases or cls.subgoals

    def with_subgoals(self, names: Sequence[str]) -> Self:
        """Return this task with other sub-goals: some of `phases`, in their order, the last one included.

        Raises:
            EnvError: If they are others.
        """
        known = [name for name in self.phases if name in names]
        if not known or known != list(names) or known[-1] != self.phases[-1]:
            allowed = (
                f"some of {', '.join(self.phases)}, in this order, the last included"
                if self.phases
                else "none"
            )
            raise EnvError(f"subgoals are {list(names)}; the task {self.name!r} allows {allowed}.")
        other = copy.copy(self)
        other.subgoals = tuple(names)
        return other

    @abstractmethod
    def draw(self, variation: Variation, rng: np.random.Generator, given: Mapping[str, Any]) -> Draw:
        """Draw an episode.

        Args:
            variation: The ranges.
            rng: Source of all randomness.
            given: Options of the reset, already checked, and at scale 1: they replace what is drawn.
        """

    @abstractmethod
    def stage(self, simulation: Simulation, draw: Draw, photograph: Photograph) -> Goal | None:
        """Make the goal in the simulation, which shows the scene already, and leave it at the start of the episode.

        Returns:
            The goal; None if the expert does not achieve it.

        Raises:
            EnvError: If a pose is out of the arm's reach.
        """

    @abstractmethod
    def status(self, simulation: Simulation, goal: Goal) -> Status:
        """Return how far the present state of the simulation is from the goal."""

    @abstractmethod
    def expert(self, simulation: Simulation, goal: Goal) -> Policy:
        """Return a policy that achieves the goal from any state; it reads the simulation, not the images."""

    def check_options(self, options: object, robot: Robot) -> dict[str, Any]:
        """Return the options of a reset after a check: poses at scale 1, and `variation`, the given factors.

        Raises:
            EnvError: If one is unknown or malformed.
        """
        allowed = [*self.poses, "variation"]
        if options is not None and not isinstance(options, Mapping):
            raise EnvError(f"reset options {options!r} are not a mapping: give some of {allowed}.")
        given = dict(options or {})
        unknown = [name for name in given if name not in allowed]
        if unknown:
            raise EnvError(f"reset options {unknown} are unknown: allowed are {allowed}.")
        factors = check_factors(given.pop("variation", {}), self.factor_parts)
        workspace = robot.workspace(self.workspace)
        poses = {name: check_pose(name, pose, workspace, robot) for name, pose in given.items()}
        return {name: scaled_position(pose, 1 / robot.scale) for name, pose in poses.items()} | {
            "variation": factors
        }


def downward_pose(position_m: Any, closure: float) -> np.ndarray:
    """Return the pose `[7]` of a hand at a position `[3]` that points straight down."""
    return np.array([*position_m, *DOWN_EULER_RAD, closure], dtype=np.float64)
