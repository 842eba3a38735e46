"""What behaviours share: a reset with the environment and a generator, and noise on scripted actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol, TypeVar

import gymnasium
import numpy as np

from envs.arm_env import ArmEnv
from envs.behaviours.wander import Explorer
from envs.errors import EnvError
from envs.experts.hand import Hand
from envs.simulation import scaled_position

T = TypeVar("T")

#: An object whose centre has left this part of the table is left alone.
_REACHABLE_LOW_M: Final = np.array([0.37, -0.22])
_REACHABLE_HIGH_M: Final = np.array([0.60, 0.22])
#: Largest standard deviation of an episode's noise, as a share of the bounds of an action: x y z, rotation, closure.
_LARGEST_NOISE: Final = np.array([0.12] * 3 + [0.0, 0.0, 0.15, 0.0])
#: Most actions of random motion at the begin of an episode.
_MOST_WANDERING: Final = 5


class Behaviour(Protocol):
    """Chooses the actions of recorded episodes.

    Attributes:
        name: Its short name.
        summary: What it does, in a few words.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    def reset(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        """Begin an episode of an environment; all randomness comes from `rng`."""
        ...

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`, within the bounds.

        Raises:
            EnvError: If no episode has begun.
        """
        ...


class Wander:
    """Random motions through the whole workspace: `Explorer`."""

    name: ClassVar[str] = "wander"
    summary: ClassVar[str] = "move at random through the whole workspace"

    _explorer: Explorer | None = None

    def reset(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        """Begin an episode."""
        arm = arm_of(env)
        self._explorer = Explorer(rng, arm.action_space, workspace=arm.simulation.workspace)

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`, within the bounds."""
        return begun(self._explorer, self.name).act(observation)


class ObjectBehaviour(ABC):
    """Does something with the object, with noise whose size each episode draws; wanders while it is out of reach."""

    name: ClassVar[str]
    summary: ClassVar[str]

    _explorer: Explorer | None = None

    def reset(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        """Begin an episode.

        Raises:
            EnvError: If the environment's task has no object.
        """
        arm = arm_of(env)
        if not arm.task.with_object:
            raise EnvError(
                f"behaviour {self.name!r} needs an object, which task {arm.task.name!r} does not have: use 'wander' or "
                "a task such as 'grasp'."
            )
        self.simulation, self.rng, self.hand = arm.simulation, rng, Hand(arm.simulation)
        self._high = arm.action_space.high.astype(np.float64)
        self._noise = rng.uniform(0.0, _LARGEST_NOISE) * self._high
        self._explorer = Explorer(rng, arm.action_space, workspace=arm.simulation.workspace)
        self._wandering = int(rng.integers(0, _MOST_WANDERING + 1))
        self.begin()

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`, within the bounds."""
        explorer = begun(self._explorer, self.name)
        self._wandering -= 1
        centre = self.simulation.object.position_m[:2]
        lost = (centre < _REACHABLE_LOW_M).any() or (centre > _REACHABLE_HIGH_M).any()
        if self._wandering >= 0 or lost:
            return explorer.act(observation)
        noise = self.rng.normal(0.0, 1.0, 7) * self._noise
        return np.clip(self.next_action() + noise, -self._high, self._high).astype(np.float32)

    @abstractmethod
    def begin(self) -> None:
        """Draw what this episode does first."""

    @abstractmethod
    def next_action(self) -> np.ndarray:
        """Return the next action without noise, float32 `[7]`."""

    def along(self, way_m: np.ndarray, closing: float = 0.0) -> np.ndarray:
        """Return the action that moves the hand by a way `[3]` at scale 1, as far as one action goes."""
        action = np.array([*way_m, 0.0, 0.0, 0.0, closing])
        return np.clip(scaled_position(action, self.simulation.scale), -self._high, self._high)


def begun(part: T | None, name: str) -> T:
    """Return what `reset` of a behaviour makes.

    Raises:
        EnvError: If it is None: no episode has begun.
    """
    if part is None:
        raise EnvError(
            f"behaviour {name!r} was asked before reset: call reset(env, rng) at the start of each episode."
        )
    return part


def arm_of(env: gymnasium.Env[Any, Any]) -> ArmEnv:
    """Return the arm's environment below any wrappers.

    Raises:
        EnvError: If it is another kind of environment.
    """
    arm = env.unwrapped
    if not isinstance(arm, ArmEnv):
        raise EnvError(
            f"behaviours of the arm got {type(arm).__name__}: they act in the tasks of this package."
        )
    return arm
