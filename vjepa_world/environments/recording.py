"""Records episodes: what an environment shows while a behaviour acts.

Legend: T observations of an episode, S state size, A action size, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from vjepa_world.data.trajectories.formats.lerobot.layout import ColumnSpec, DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.trajectory import EVENTS, Trajectory
from vjepa_world.environments.behaviours import Behaviour
from vjepa_world.environments.config import EnvConfig
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.observed import ObservedEnv
from vjepa_world.environments.spaces import camera_name
from vjepa_world.environments.values import flag
from vjepa_world.errors import ConfigError
from vjepa_world.ops.convention import PLAIN, Convention

#: What datasets of the simulated arm call their robot.
SIMULATED_ROBOT = "panda_simulated"
POSE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "closure")


@dataclass(frozen=True)
class Recorder:
    """Records an environment's episodes as those of a dataset.

    Attributes:
        env: From `EnvConfig.make(goals=False)`.
        config: Its options.
        labels: The labels that its info has.
        cameras: Keys of its pictures by the cameras' names in datasets, in the order in which it shows them.
    """

    env: gymnasium.Env[Any, Any]
    config: EnvConfig
    labels: tuple[str, ...]
    cameras: Mapping[str, str]

    @classmethod
    def of(cls, config: EnvConfig) -> Recorder:
        """Make the environment of some options.

        Raises:
            ConfigError: As :meth:`EnvConfig.make`, or if two cameras would have the same name in the dataset.
            EnvironmentFailure: As :meth:`EnvConfig.make`.
        """
        env = config.make(goals=False)
        # The observation space would not do: Gymnasium sorts its keys.
        observation, info = env.reset(seed=0)
        return cls(env, config, tuple(name for name in EVENTS if name in info), _cameras(observation))

    def spec(self) -> DatasetSpec:
        """Return what all episodes have in common."""
        shapes = {name: self._spaces()[key].shape or () for name, key in self.cameras.items()}
        cameras = {
            name: VideoSpec.encoded(shape[0], shape[1], self.config.fps) for name, shape in shapes.items()
        }
        state, inner = self._spaces().get("state"), self.env.unwrapped
        state_size = 0 if state is None or state.shape is None else state.shape[0]
        space = self.env.action_space
        choices = int(space.n) if isinstance(space, spaces.Discrete) else 0
        action_size = 1 if choices or space.shape is None else space.shape[0]
        of_the_arm = not isinstance(self.env, ObservedEnv)
        default = POSE_NAMES if of_the_arm else ()
        names = tuple(getattr(inner, "state_names", default)), tuple(getattr(inner, "action_names", ()))
        if of_the_arm and not names[1]:
            names = names[0], tuple(f"delta_{name}" for name in POSE_NAMES)
        return DatasetSpec(
            fps=self.config.fps,
            state_names=_named(names[0], state_size, "state"),
            action_names=("choice",) if choices else _named(names[1], action_size, "action"),
            robot_type=str(getattr(inner, "robot_name", SIMULATED_ROBOT if of_the_arm else self.config.id)),
            cameras=cameras,
            action_dtype="int64" if choices else "float32",
            columns={name: ColumnSpec(dtype="bool", shape=(1,)) for name in self.labels},
            convention=Convention(actions="delta") if of_the_arm else replace(PLAIN, choices=choices),
            environment=self.config.identity(of_the_arm=of_the_arm),
        )

    def _spaces(self) -> Mapping[str, spaces.Space[Any]]:
        assert isinstance(self.env.observation_space, spaces.Dict)
        return self.env.observation_space.spaces

    def record(
        self, behaviour: Behaviour, *, seed: int, rng: np.random.Generator, steps: int, index: int
    ) -> Trajectory:
        """Record one episode of at most `steps` actions; one that the environment ends earlier is shorter.

        Args:
            behaviour: What acts.
            seed: Of the environment.
            rng: All randomness of the behaviour.
            steps: Most actions.
            index: Its number, for errors.

        Raises:
            EnvironmentFailure: If the environment or the behaviour fails; episode and step are named.
        """
        try:
            return self._recorded(behaviour, seed, rng, steps, index)
        except EnvironmentFailure as error:
            raise EnvironmentFailure(f"episode {index} (seed {seed}): {error}") from error

    def _recorded(
        self, behaviour: Behaviour, seed: int, rng: np.random.Generator, steps: int, index: int
    ) -> Trajectory:
        observation, info = self.env.reset(seed=seed)
        behaviour.reset(self.env, rng)
        observations, actions, infos = [observation], [], [info]
        for _ in range(steps):
            action = behaviour.act(observation)
            if isinstance(self.env, ObservedEnv):
                action = self.env.actions.checked(action)
            observation, _, terminated, truncated, info = self.env.step(action)
            actions.append(action)
            observations.append(observation)
            infos.append(info)
            if terminated or truncated:
                break
        return self._trajectory(observations, actions, infos, seed, index, behaviour.summary)

    def _trajectory(
        self,
        observations: list[dict[str, np.ndarray]],
        actions: list[Any],
        infos: list[dict[str, Any]],
        seed: int,
        index: int,
        task: str,
    ) -> Trajectory:
        count = len(observations)

        def load(camera: str, rows: np.ndarray) -> Any:
            import torch

            images = np.stack([observations[row][self.cameras[camera]] for row in rows])
            return torch.from_numpy(images).permute(0, 3, 1, 2)

        states = [observation.get("state", np.empty(0, np.float32)) for observation in observations]
        is_choice = isinstance(self.env.action_space, spaces.Discrete)
        taken = np.asarray(actions, np.int64 if is_choice else np.float32).reshape(count - 1, -1)
        return Trajectory(
            index=index,
            name=f"episode {index}",
            fps=self.config.fps,
            states=np.stack(states).astype(np.float32),
            actions=taken,
            timestamps_s=np.arange(count) / self.config.fps,
            cameras=tuple(self.cameras),
            load_frames=load,
            task=task,
            columns={
                name: np.array([_flag(info, name, row) for row, info in enumerate(infos)])
                for name in self.labels
            },
            seed=seed,
        )


def _cameras(observation: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the keys of an observation's pictures by the cameras' names in datasets.

    Raises:
        ConfigError: If two have the same name.
    """
    found: dict[str, str] = {}
    for key in observation:
        if key.startswith("image"):
            name = camera_name(key)
            if name in found:
                raise ConfigError(
                    f"two cameras would be called {name} in the dataset, where the first camera is always called main; "
                    "let the camera main be the first one, or leave it out."
                )
            found[name] = key
    return found


def _flag(info: Mapping[str, Any], name: str, row: int) -> bool:
    if name not in info:
        raise EnvironmentFailure(f"info has no '{name}' after step {row}, and had it after the first reset.")
    return flag(info[name], f"info['{name}'] after step {row}")


def _named(names: tuple[str, ...], size: int, what: str) -> tuple[str, ...]:
    """Return one name for each number: the environment's if there are as many."""
    return names if len(names) == size else tuple(f"{what}_{index}" for index in range(size))
