"""What acts while data is recorded: behaviours of the arm, noise in any other environment, or a user's function.

Legend: A action size, n choices.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces

from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.functions import load_function
from vjepa_world.errors import ConfigError, VJEPAWorldError, described

#: Steps that are drawn at once.
_BLOCK = 256
#: Spread of an episode's noise, in half-widths of the action bounds: from slow episodes to ones at the bounds.
_SPREAD = (0.3, 1.0)


class Behaviour(Protocol):
    """Chooses the actions of recorded episodes."""

    @property
    def summary(self) -> str:
        """What it does in this episode, in a few words: the episode's task in the dataset."""
        ...

    def reset(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        """Begin an episode; all randomness comes from `rng`."""

    def act(self, observation: Mapping[str, np.ndarray]) -> Any:
        """Return the action at an observation."""


def behaviour_of(env: gymnasium.Env[Any, Any], function: str, weights: Mapping[str, float]) -> Behaviour:
    """Return what acts.

    Args:
        env: The environment.
        function: `module:function`, called as `function(env, rng)` at the begin of each episode; it returns a function
            from an observation to an action. Empty for a built-in behaviour.
        weights: Names of the arm's behaviours with their weights; empty for all that suit the task, alike.

    Raises:
        ConfigError: If both are given, the function cannot be loaded, or the environment has no such behaviours, or
            one does not suit its task.
    """
    from vjepa_world.environments.observed import ObservedEnv

    if function and weights:
        raise ConfigError("behaviour and behaviours are both given; give one of them.")
    if function:
        return UserBehaviour(function)
    if isinstance(env, ObservedEnv):
        if weights:
            raise ConfigError(
                f"behaviours.{next(iter(weights))} is one of the arm's, which the environment {env.config.id} is not; "
                "give behaviour=module:function, or nothing for noise."
            )
        return ColouredNoise()
    return _of_the_arm(env, weights)


def _of_the_arm(env: gymnasium.Env[Any, Any], weights: Mapping[str, float]) -> Behaviour:
    of_the_arm = importlib.import_module("envs.behaviours")
    suitable = of_the_arm.suitable(env)
    found: Behaviour = of_the_arm.mixture(dict(weights) or suitable)
    other = [name for name, weight in weights.items() if weight and name not in suitable]
    if other:
        raise ConfigError(
            f"behaviours.{other[0]} needs an object, which the task has not; allowed: {', '.join(suitable)}. Give one "
            "of them, or a task with an object, such as env=push."
        )
    return found


class ColouredNoise:
    r"""Noise whose power falls as :math:`f^{-\beta}`: slow motions with quick ones on top.

    A `Box` gets noise around the middle of its bounds, clipped to them; each episode draws its spread. Of `Discrete`,
    each choice gets a noise of its own, and the largest is taken, so that choices persist.

    Args:
        exponent: :math:`\beta`; 0 is white noise, 2 a random walk.

    Source:
        Timmer and Koenig (1995); for exploration Eberhard et al. (ICLR 2023), who found an exponent of 1 best.
    """

    summary = "move at random"

    def __init__(self, exponent: float = 1.0) -> None:
        self.exponent = exponent

    def reset(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        """See :class:`Behaviour`."""
        space = env.action_space
        assert isinstance(space, spaces.Box | spaces.Discrete)
        self._rng, self._space, self._left = rng, space, np.empty((0, 0))
        self._spread = rng.uniform(*_SPREAD)

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray | int:
        """See :class:`Behaviour`: float32 `[A]`, or the index of a choice."""
        size = int(self._space.n) if isinstance(self._space, spaces.Discrete) else self._space.shape[0]
        if not len(self._left):
            self._left = coloured_noise(self._rng, _BLOCK, size, self.exponent)
        noise, self._left = self._left[0], self._left[1:]
        if isinstance(self._space, spaces.Discrete):
            return int(noise.argmax())
        low, high = self._space.low.astype(np.float64), self._space.high.astype(np.float64)
        drawn = (low + high) / 2 + self._spread * (high - low) / 2 * noise
        return np.clip(drawn, low, high).astype(np.float32)


def coloured_noise(rng: np.random.Generator, steps: int, size: int, exponent: float) -> np.ndarray:
    r"""Return normal noise `[steps, size]` of unit variance whose power falls as :math:`f^{-\beta}` along the steps.

    A spectrum of independent normal numbers is scaled by :math:`f^{-\beta/2}` and transformed back into time; the
    constant part is scaled as the lowest frequency.
    """
    frequency = np.fft.rfftfreq(steps)
    frequency[0] = frequency[1]
    scale = frequency ** (-exponent / 2)
    spectrum = rng.normal(size=(2, len(frequency), size))
    complex_spectrum = (spectrum[0] + 1j * spectrum[1]) * scale[:, None]
    noise = np.fft.irfft(complex_spectrum, n=steps, axis=0)
    # Variance of the sum of all frequencies; constant and highest one are real, the others count twice.
    weights = np.full(len(scale), 4.0)
    weights[0] = 1.0
    weights[-1] = 1.0 if steps % 2 == 0 else 4.0
    return noise * steps / np.sqrt((weights * scale**2).sum())


class UserBehaviour:
    """A user's function: `function(env, rng)` returns a function from an observation to an action.

    `env` is the environment itself (unwrapped), the observation has `image` and `state`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.function = load_function(name, "behaviour")

    @property
    def summary(self) -> str:
        """See :class:`Behaviour`: the function's name."""
        return self.name

    def reset(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        """See :class:`Behaviour`.

        Raises:
            ConfigError: If what the function returns cannot be called.
        """
        self._act: Callable[[Mapping[str, np.ndarray]], Any] = self._called(self.function, env.unwrapped, rng)
        if not callable(self._act):
            raise ConfigError(
                f"behaviour={self.name} returned {type(self._act).__name__}; allowed is a function from an observation "
                "to an action."
            )

    def act(self, observation: Mapping[str, np.ndarray]) -> Any:
        """See :class:`Behaviour`."""
        # A copy: what is recorded must stay as the environment has shown it.
        return self._called(self._act, {name: value.copy() for name, value in observation.items()})

    def _called(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except VJEPAWorldError:
            raise
        except Exception as error:  # of a user's function: any
            raise EnvironmentFailure(f"behaviour={self.name} raised {described(error)}") from error
