"""Behaviours that collect data: random motions, pokes, pushes, picks, and objects that are carried and dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import gymnasium
import numpy as np

from envs.behaviours.base import Behaviour, Wander, arm_of, begun
from envs.behaviours.contact import Poke, Push
from envs.behaviours.picking import Carry, Pick
from envs.checks import is_finite
from envs.errors import EnvError

#: The behaviours by name.
BEHAVIOURS: Final[dict[str, type[Behaviour]]] = {
    behaviour.name: behaviour for behaviour in (Wander, Poke, Push, Pick, Carry)
}


class Mixture:
    """Draws one behaviour for each episode.

    Args:
        weights: Weights by name, not all zero.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._behaviours = [BEHAVIOURS[name]() for name in weights]
        total = sum(weights.values())
        self._shares = [weight / total for weight in weights.values()]
        self._present: Behaviour | None = None

    def reset(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        """Begin an episode with one of the behaviours; all randomness comes from `rng`."""
        single = len(self._behaviours) == 1  # acts as it does without a mixture
        index = 0 if single else int(rng.choice(len(self._behaviours), p=self._shares))
        self._present = self._behaviours[index]
        self._present.reset(env, rng)

    @property
    def summary(self) -> str:
        """What the behaviour of this episode does, in a few words; EnvError before the first `reset`."""
        return begun(self._present, "mixture").summary

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`, within the bounds.

        Raises:
            EnvError: If no episode has begun.
        """
        return begun(self._present, "mixture").act(observation)


def suitable(env: gymnasium.Env[Any, Any]) -> dict[str, float]:
    """Return the behaviours that suit a task with equal weights: all if it has an object, else `wander` alone.

    Raises:
        EnvError: If it is not an environment of the arm.
    """
    with_object = arm_of(env).task.with_object
    return {name: 1.0 for name in BEHAVIOURS if with_object or name == Wander.name}


def mixture(weights: Mapping[str, float]) -> Mixture:
    """Return a behaviour that draws one of several for each episode.

    Args:
        weights: Weights by the names of `BEHAVIOURS`; they need not add up to 1.

    Raises:
        EnvError: If a name is unknown, or the weights are not a distribution.
    """
    unknown = [name for name in weights if name not in BEHAVIOURS]
    if unknown:
        raise EnvError(f"behaviours {unknown} are unknown: use some of {list(BEHAVIOURS)}.")
    good = all(is_finite(weight) and weight >= 0 for weight in weights.values())
    if not good or not any(weights.values()):
        raise EnvError(
            f"weights of behaviours {dict(weights)} are not allowed: give numbers >= 0, not all 0."
        )
    return Mixture(weights)


__all__ = [
    "BEHAVIOURS",
    "Behaviour",
    "Carry",
    "Mixture",
    "Pick",
    "Poke",
    "Push",
    "Wander",
    "mixture",
    "suitable",
]
