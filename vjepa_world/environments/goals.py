"""Where goals come from: the environment's info, a function, or recorded episodes.

Legend: A action size, S state size, T rows of an episode, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vjepa_world.environments.config import RECORDED_GOALS, EnvConfig
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.functions import load_function
from vjepa_world.environments.spaces import camera_name, to_image
from vjepa_world.environments.values import vector
from vjepa_world.errors import ConfigError, counted, described

if TYPE_CHECKING:
    from vjepa_world.data.trajectories.trajectory import Trajectory, TrajectoryDataset
    from vjepa_world.environments.observed import ObservedEnv

#: Largest difference of a replayed state from the recorded one, relative to the state's range in the episode.
REPLAY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Begun:
    """The begin of an episode.

    Attributes:
        observation: The first observation.
        info: The environment's.
        goal_images: The goal as cameras see it, uint8 `[H, W, 3]` each, by the names in observations: `image`, and
            `image_CAMERA` of those further ones that show it.
        goal_state: float32 `[S]`; None if it is not known.
        chosen: The options that repeat this goal.
    """

    observation: dict[str, np.ndarray]
    info: dict[str, Any]
    goal_images: Mapping[str, np.ndarray]
    goal_state: np.ndarray | None
    chosen: Mapping[str, int]


class GoalSource(Protocol):
    """Begins episodes with a goal."""

    #: Whether the environment's own `success` and `distance` are about these goals.
    of_the_environment: bool

    def begin(self, env: ObservedEnv, seed: int | None, options: Mapping[str, Any]) -> Begun:
        """Reset the environment to the start of an episode and return it with its goal."""


def goal_source(config: EnvConfig) -> GoalSource:
    """Return the source that `env.goal` names.

    Raises:
        ConfigError: If a function or a dataset that it needs cannot be loaded.
    """
    if config.goal == "info":
        return InfoGoals()
    if config.goal in RECORDED_GOALS:
        return RecordedGoals(config)
    return FunctionGoals(config)


class InfoGoals:
    """Goals that the environment reports: `info["goal_image"]` after a reset, and perhaps `info["goal_state"]`."""

    of_the_environment = True

    def begin(self, env: ObservedEnv, seed: int | None, options: Mapping[str, Any]) -> Begun:
        """See :class:`GoalSource`.

        Raises:
            ConfigError: If there is no goal image.
        """
        observation, info = env.reset(seed=seed, options=dict(options) or None)
        if "goal_image" not in info:
            raise ConfigError(
                "env.goal=info, and the environment's info has no goal_image after reset, only "
                f"{', '.join(map(str, info)) or 'nothing'}. Add it, or say where goals come from: "
                "env.goal=module:function (a function that renders a goal), env.goal=demonstration or "
                "env.goal=ahead with env.goal_data=DATASET (recorded episodes)."
            )
        images = {
            name: env.picture(name, info[f"goal_{name}"], f"info['goal_{name}']")
            for name in observation
            if f"goal_{name}" in info and name != "state"
        }
        return Begun(observation, info, images, _state_or_none(info.get("goal_state")), {})


class FunctionGoals:
    """Goals of `function(env)`, called after each reset.

    It returns the goal's image, or a pair of the image and the state `[S]`. For a world model that looks at several
    cameras, the image is a dictionary of images by the names in observations: `image` and `image_CAMERA`. `env` is the
    environment; the function must leave it at the start of the episode. Random numbers come from `env.np_random`.
    """

    of_the_environment = True

    def __init__(self, config: EnvConfig) -> None:
        self.name = config.goal
        self.function = load_function(config.goal, "env.goal")

    def begin(self, env: ObservedEnv, seed: int | None, options: Mapping[str, Any]) -> Begun:
        """See :class:`GoalSource`."""
        observation, info = env.reset(seed=seed, options=dict(options) or None)
        try:
            found = self.function(env.unwrapped)
        except Exception as error:  # of a user's function: any
            raise EnvironmentFailure(f"env.goal={self.name} raised {described(error)}") from error
        env.check_still_shown(observation, f"env.goal={self.name}")
        shown, state = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
        shown = shown if isinstance(shown, Mapping) else {"image": shown}
        if "image" not in shown or not shown.keys() <= observation.keys():
            raise EnvironmentFailure(
                f"env.goal={self.name} returned images named {', '.join(map(str, shown)) or 'nothing'}; allowed are "
                f"image and the further ones in observations: {', '.join(observation)}."
            )
        images = {  # in the order of the cameras, in which a world model takes them
            name: env.picture(name, shown[name], f"the {name} of env.goal={self.name}")
            for name in observation
            if name in shown
        }
        return Begun(observation, info, images, _state_or_none(state), {})


class RecordedGoals:
    """Goals from recorded episodes: the last frame (`demonstration`), or one `goal_steps` after the start (`ahead`).

    The environment is reset with the episode's recorded seed. For `ahead` it is then brought to the start step: by
    replaying the recorded actions, or by `env.restore`, `function(env, row)`, which puts it into the state of a row
    (`row["state"]`, and all other recorded numbers by name) and returns its observation. Replayed goals are the
    environment's own images; those of restored episodes are the recorded ones.

    Options of a reset: `episode` and, for `ahead`, `step`; what is not given is drawn by the seed.
    """

    of_the_environment = False

    def __init__(self, config: EnvConfig) -> None:
        from vjepa_world.data.trajectories.registry import open_trajectories

        self.config = config
        self.dataset: TrajectoryDataset = open_trajectories(config.goal_data)
        self.restore = load_function(config.restore, "env.restore") if config.restore else None

    def begin(self, env: ObservedEnv, seed: int | None, options: Mapping[str, Any]) -> Begun:
        """See :class:`GoalSource`.

        Raises:
            ConfigError: If an option is not an episode or a step of it.
            EnvironmentFailure: If replaying does not lead to the recorded states.
        """
        options = dict(options)
        rng = np.random.default_rng(seed)
        episode, step = self._choose(rng, options.pop("episode", None), options.pop("step", None))
        chosen = {"episode": episode.index} | ({"step": step} if self.config.goal == "ahead" else {})
        begin = episode.seed if episode.seed is not None else seed
        last = step + self.config.goal_steps if self.config.goal == "ahead" else len(episode) - 1
        if self.config.goal == "demonstration":
            observation, info = env.reset(seed=begin, options=options or None)
            images, state = self._recorded(env, episode, last, observation)
        elif self.restore is None:
            goal, _ = self._replayed(env, episode, last, options)
            images, state = {name: goal[name] for name in goal if name != "state"}, goal.get("state")
            observation, info = self._replayed(env, episode, step, options)
        else:
            _, info = env.reset(seed=begin, options=options or None)
            observation = env.observe(self._restored(env, _row(episode, step)))
            images, state = self._recorded(env, episode, last, observation)
        return Begun(observation, info, images, state, chosen)

    def _restored(self, env: ObservedEnv, row: dict[str, Any]) -> Any:
        """Put the environment into the state of a row, and return its observation."""
        assert self.restore is not None
        try:
            return self.restore(env.unwrapped, row)
        except Exception as error:  # of a user's function: any
            raise EnvironmentFailure(
                f"env.restore={self.config.restore} raised {described(error)}"
            ) from error

    def _choose(self, rng: np.random.Generator, number: Any, step: Any) -> tuple[Trajectory, int]:
        """Return the episode and the start step, drawn where they are not given."""
        count = self.dataset.num_episodes
        ahead = self.config.goal_steps if self.config.goal == "ahead" else 0
        drawn = rng.permutation(count).tolist() if number is None else [_whole("episode", number, count)]
        for index in drawn:
            episode = self.dataset.episode(index)
            starts = len(episode) - ahead
            if starts > 0:
                start = int(rng.integers(starts)) if ahead else 0
                return episode, start if step is None else _whole("step", step, starts)
        raise ConfigError(
            f"env.goal_steps is {ahead}, and "
            + (
                f"no episode of {self.dataset.path}"
                if number is None
                else f"episode {number} of {self.dataset.path}"
            )
            + " has so many steps; lower it, or record longer episodes."
        )

    def _recorded(
        self, env: ObservedEnv, episode: Trajectory, row: int, observation: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Return what the first camera and the recorded ones of an observation saw in a row, and its state."""
        names = [name for name in observation if camera_name(name) in episode.cameras and name != "state"]
        cameras = {"image": None} | {name: camera_name(name) for name in names}
        images = {
            name: to_image(
                episode.frames([row], camera)[0].permute(1, 2, 0).numpy(),
                f"a frame of {episode.name}",
                env.config.image_size,
            )
            for name, camera in cameras.items()
        }
        return images, episode.states[row].astype(np.float32) if episode.states.shape[1] else None

    def _replayed(
        self, env: ObservedEnv, episode: Trajectory, steps: int, options: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reset to the recorded seed and execute the first `steps` recorded actions."""
        if episode.seed is None:
            raise ConfigError(
                f"env.goal=ahead: {self.dataset.path} has no seeds of its episodes, so that their starts cannot be "
                "repeated; record it with `vjepa-world collect`, or give env.restore=module:function."
            )
        size = int(np.prod(env.action_space.shape or ()))  # a choice is one number
        if episode.actions.shape[1] != size:
            raise ConfigError(
                f"env.goal_data={self.config.goal_data} has actions of {counted(episode.actions.shape[1], 'number')}, "
                f"and the environment {env.config.id} takes {size}: the dataset is of another environment. Give one "
                "that was recorded in this environment, or env.restore=module:function."
            )
        observation, info = env.reset(seed=episode.seed, options=dict(options) or None)
        for action in episode.actions[:steps]:
            observation, _, terminated, truncated, info = env.step(_as_recorded(env, action))
            if terminated or truncated:
                break
        state = observation.get("state")
        if state is not None and state.shape == episode.states[steps].shape:
            self._check_state(episode, steps, state)
        return observation, info

    def _check_state(self, episode: Trajectory, row: int, state: np.ndarray) -> None:
        scale = np.ptp(episode.states, axis=0) + 1e-3
        off = np.abs(state - episode.states[row]) / scale
        if off.max() > REPLAY_TOLERANCE:
            axis = int(off.argmax())
            raise EnvironmentFailure(
                f"{episode.name}: replaying its actions from its seed {episode.seed} leads to "
                f"{state[axis]:g} instead of {episode.states[row, axis]:g} at row {row}, state {axis}; the environment "
                "is another one (env.kwargs), or does not repeat itself. Give env.restore=module:function."
            )


def _as_recorded(env: ObservedEnv, action: np.ndarray) -> Any:
    """Return a recorded action as the environment takes it: choices are stored as their index."""
    return int(action[0]) if env.actions.is_discrete else action


def _row(episode: Trajectory, row: int) -> dict[str, Any]:
    """Return the recorded numbers of a row by name."""
    columns = {name: values[row] for name, values in episode.columns.items()}
    return {**columns, "state": episode.states[row].copy()}


def _state_or_none(state: Any) -> np.ndarray | None:
    return None if state is None else vector(state, "the goal's state")


def _whole(name: str, value: Any, count: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < count:
        raise ConfigError(f"the reset option {name} is {value!r}; allowed: 0 to {count - 1}.")
    return int(value)
