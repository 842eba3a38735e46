"""The record of an episode: numbers that are stored for all episodes, and frames that are not.

Shapes: T actions of the episode, H W pixels, G sub-goals, V views.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vjepa_world.evaluation.closed_loop.environment import Pair


@dataclass(frozen=True)
class Episode:
    """The numbers of an episode. Distances are in the environment's unit (metres in ours), and NaN where not known.

    Attributes:
        index: Index of its pair in the evaluation.
        pair: Start and goal.
        success: Whether the goal was reached after any action.
        held: Whether it stayed reached for three actions in a row; None if the environment ends at the first success.
        initial_distance: Distance to the goal after the reset.
        distances: Distance to the goal after each action, T.
        seconds_per_action: Time that the policy took for each action, encoding included, T. Of episodes that ran
            together, each has an equal share of their time.
        energies: The policy's energy of each frame, T + 1; empty if it has none.
        plan_energies: The energy predicted for the plan of each action, T; empty if nothing was planned.
        factors: Labels of the scene by which results are broken down.
        subgoals: Which sub-goals were reached, G.
        subgoal_names: Their names, G.
        pursued: Index of the sub-goal to which the policy acted at each frame, T + 1; empty if it was given the goal
            alone.
        events: Which of contact, object_moving and object_lifted occurred.
        redrawn_scenes: Scenes that the environment drew again for this episode.
    """

    index: int
    pair: Pair
    success: bool
    held: bool | None
    initial_distance: float
    distances: tuple[float, ...]
    seconds_per_action: tuple[float, ...]
    energies: tuple[float, ...] = ()
    plan_energies: tuple[float, ...] = ()
    factors: Mapping[str, bool | str | float] = field(default_factory=dict)
    subgoals: tuple[bool, ...] = ()
    subgoal_names: tuple[str, ...] = ()
    pursued: tuple[int, ...] = ()
    events: tuple[str, ...] = ()
    redrawn_scenes: int = 0

    @property
    def steps(self) -> int:
        """T, the number of actions."""
        return len(self.distances)

    @property
    def at_goal(self) -> tuple[bool, ...]:
        """Whether the policy acted to the goal itself, and not to a sub-goal before it, at each frame, T + 1."""
        if not self.pursued:
            return (True,) * (self.steps + 1)
        return tuple(index == len(self.subgoal_names) - 1 for index in self.pursued)

    @property
    def final_distance(self) -> float:
        """Distance to the goal at the end of the episode."""
        return self.distances[-1]

    def as_json(self) -> dict[str, Any]:
        """Return it as a line of `episodes.jsonl` holds it: NaN becomes null."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Episode:
        """Return the episode that :meth:`as_json` wrote."""
        given: dict[str, Any] = {
            name: tuple(map(_number, v)) if isinstance(v, list) else _number(v) for name, v in values.items()
        }
        return cls(**given | {"pair": Pair(**values["pair"]), "held": values["held"]})


@dataclass(frozen=True, eq=False)
class Recording:
    """An episode with its frames.

    Attributes:
        episode: The numbers.
        frames: What the policy saw from the reset on, uint8 `[T + 1, H, V*W, 3]`.
        goal_images: Image of the goal that was pursued at each frame, T + 1, uint8 `[H, V*W, 3]`.
    """

    episode: Episode
    frames: np.ndarray
    goal_images: Sequence[np.ndarray]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:
    return math.nan if value is None else value
