"""An environment with goal images: the form that evaluations drive.

Legend: S state size, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from vjepa_world.data.trajectories.trajectory import EVENTS
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.functions import is_function_name, load_function
from vjepa_world.environments.goals import Begun, goal_source
from vjepa_world.environments.observed import ObservedEnv
from vjepa_world.environments.values import flag, flags, labels, number
from vjepa_world.errors import ConfigError, counted, described

#: Keys of an info that say whether the goal is reached.
SUCCESS_KEYS = ("success", "is_success")
#: What an info has after a reset that is passed on.
PASSED_AT_RESET = ("subgoal_names", "redrawn_scenes")


class GoalEnv(gymnasium.Wrapper[dict[str, np.ndarray], Any, Any, Any]):
    """Adds a goal image to each episode, and `success` and `distance` to each step.

    `info` has `success`, and `distance`: the environment's, else that of the states from the goal's, else NaN. After a
    reset also `goal_image`, uint8 `[H, W, 3]`, and `goal_image_CAMERA` of further cameras that show the goal,
    `goal_state` `[S]` where it is known, `solved_at_reset`, `factors`, and `options`, which repeat a drawn goal. An
    episode ends with the environment's, or after `max_steps`.

    Args:
        env: The environment.

    Raises:
        ConfigError: If it is not known where goals come from, or what success is; the key to give is named.
        EnvironmentFailure: If its first reset or step fails.
    """

    env: ObservedEnv

    def __init__(self, env: ObservedEnv) -> None:
        super().__init__(env)
        self.config = env.config
        # Gymnasium leaves open what a step after the end does, so that success cannot be watched any longer there.
        self.metadata = {"ends_at_success": True, **env.metadata}
        self._goals = goal_source(self.config)
        self._function = (
            load_function(self.config.success, "env.success")
            if is_function_name(self.config.success)
            else None
        )
        self._goal_images: Mapping[str, np.ndarray] = {}
        self._goal_state: np.ndarray | None = None
        self._steps = 0
        self._num_subgoals: int | None = None
        self._reports_success = False
        # What cannot be inferred is asked for before anything is run.
        self.reset(seed=0)
        self.action_space.seed(0)
        self.step(self.action_space.sample())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode with a goal; `options` are those of the goal's source, and the environment's.

        Raises:
            ConfigError: If an option is not allowed.
            EnvironmentFailure: If the environment fails.
        """
        begun = self._goals.begin(self.env, seed, options or {})
        self._goal_images, self._goal_state, self._steps = begun.goal_images, begun.goal_state, 0
        for name, image in begun.goal_images.items():
            if image.shape != begun.observation[name].shape:
                raise EnvironmentFailure(
                    f"the goal {name} has shape {list(image.shape)}, and the environment's {name} "
                    f"{list(begun.observation[name].shape)}; give env.image_size, to which both are resized."
                )
        found = self._outcome(begun.observation, begun.info, terminated=False, at_reset=True)
        found |= {key: begun.info[key] for key in PASSED_AT_RESET if key in begun.info}
        if "redrawn_scenes" in found:
            found["redrawn_scenes"] = int(number(found["redrawn_scenes"], "info['redrawn_scenes']"))
        # They lead to the environment's own goal, which another source of goals replaces.
        if self.config.goal == "info" and "subgoal_images" in begun.info:
            found |= self._subgoals(begun)
        found |= {
            **{f"goal_{name}": image for name, image in begun.goal_images.items()},
            "solved_at_reset": found["success"],
            "factors": labels(begun.info.get("factors", {}), "info['factors']"),
            "options": dict(begun.chosen),
        }
        if begun.goal_state is not None:
            found["goal_state"] = begun.goal_state
        return begun.observation, found

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Execute an action.

        Raises:
            ConfigError: If it is not known what success is.
            EnvironmentFailure: If the environment fails.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        found = self._outcome(observation, info, terminated=terminated, at_reset=False)
        return observation, reward, terminated, truncated or self._steps >= self.config.max_steps, found

    def _subgoals(self, begun: Begun) -> dict[str, np.ndarray]:
        """Return the images of the sub-goals by each camera that shows them, in the order of the cameras."""
        found = {}
        for name in (name for name in begun.observation if name != "state"):
            key = name.replace("image", "subgoal_images", 1)
            if key in begun.info:
                images = [self.env.picture(name, image, f"info['{key}']") for image in begun.info[key]]
                if not images or any(image.shape != images[0].shape for image in images):
                    raise EnvironmentFailure(
                        f"info['{key}'] has images of the shapes {[list(image.shape) for image in images]}; allowed is "
                        "at least one sub-goal, all of one size. Give env.image_size, to which they are resized."
                    )
                found[key] = np.stack(images)
        return found

    def _outcome(
        self,
        observation: Mapping[str, np.ndarray],
        info: Mapping[str, Any],
        *,
        terminated: bool,
        at_reset: bool,
    ) -> dict[str, Any]:
        """Return success, distance and flags of an observation."""
        distance = self._distance(observation, info)
        if self._function is not None:
            success = self._called(self._function, observation)
        elif self.config.success_distance and self.config.success == "auto":
            success = self._within(distance)
        elif self.config.success == "terminated":
            success = terminated
        else:
            success = self._reported(info, at_reset=at_reset)
        found: dict[str, Any] = {"success": success, "distance": distance}
        found |= {key: flag(info[key], f"info['{key}']") for key in EVENTS if key in info}
        if "subgoals_reached" in info:
            found["subgoals_reached"] = self._subgoals_reached(info, at_reset=at_reset)
        return found

    def _subgoals_reached(self, info: Mapping[str, Any], *, at_reset: bool) -> np.ndarray:
        """Return which sub-goals are reached, bool `[G]`; G stays the same in an episode."""
        reached = flags(info["subgoals_reached"], "info['subgoals_reached']")
        if self._num_subgoals is None or at_reset:
            self._num_subgoals = len(reached)
        if len(reached) != self._num_subgoals:
            raise EnvironmentFailure(
                f"info['subgoals_reached'] has {counted(len(reached), 'flag')} after step {self._steps}, and had "
                f"{self._num_subgoals} before; it has one for each sub-goal of the episode."
            )
        return np.array(reached, bool)

    def _distance(self, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> float:
        """Return the distance to the goal; NaN if it is not known."""
        own = info.get("distance")
        if own is not None and self._goals.of_the_environment:
            return number(own, "info['distance']")
        state = observation.get("state")
        if state is None or self._goal_state is None or state.shape != self._goal_state.shape:
            return float("nan")
        return float(np.linalg.norm(state - self._goal_state))

    def _within(self, distance: float) -> bool:
        if np.isnan(distance):
            raise ConfigError(
                f"env.success_distance is {self.config.success_distance:g}, and the distance to the goal is not known: "
                f"neither info['distance'] nor states of the goal are there; give env.success=module:function."
            )
        return distance <= self.config.success_distance

    def _reported(self, info: Mapping[str, Any], *, at_reset: bool) -> bool:
        known = [key for key in SUCCESS_KEYS if key in info]
        about_goal = self._goals.of_the_environment or self.config.success == "info"
        if known and about_goal:
            self._reports_success = True
            return flag(info[known[0]], f"info['{known[0]}']")
        if at_reset and about_goal:
            return False  # many environments report success only after an action
        if self._reports_success and about_goal:
            raise EnvironmentFailure(
                f"the environment {self.config.id} at step {self._steps}: info has no success or is_success, only "
                f"{', '.join(map(str, info)) or 'nothing'}, and had it before; report it after every step."
            )
        reason = (
            f"the environment's info has no success or is_success, only {', '.join(map(str, info)) or 'nothing'}"
            if about_goal
            else f"goals are from recorded episodes (env.goal={self.config.goal}), unknown to the environment"
        )
        raise ConfigError(
            f"what is success? {reason[0].upper()}{reason[1:]}. Give env.success=module:function, a function of (env, "
            "observation, goal), env.success_distance=D for states within D of the goal's, env.success=info for the "
            "environment's own, or env.success=terminated if its episodes end with success."
        )

    def _called(self, function: Callable[..., Any], observation: Mapping[str, np.ndarray]) -> bool:
        goal = {**self._goal_images, "state": self._goal_state}
        try:
            found = function(self.env.unwrapped, observation, goal)
        except Exception as error:  # of a user's function: any
            raise EnvironmentFailure(
                f"env.success={self.config.success} raised {described(error)}"
            ) from error
        return flag(found, f"what env.success={self.config.success} returned")
