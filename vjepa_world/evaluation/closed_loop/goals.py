"""The goal images of an episode: its goal alone, or sub-goals one after the other.

Legend: G sub-goals, H W pixels, V views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from vjepa_world.errors import counted
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.planning.cameras import side_by_side


@dataclass(frozen=True)
class SubGoalSchedule:
    """When an episode goes on from a sub-goal to the next. The last one is the goal, and has no end.

    Attributes:
        steps: Actions for each of the G sub-goals, as in V-JEPA 2-AC (4, 10, 4); the last number has no effect. Empty:
            a sub-goal ends once the environment reports that it is reached (`info["subgoals_reached"]`), which is an
            oracle: a robot would have to detect it.

    Raises:
        EvaluationError: If a number is below 1.

    Source:
        V-JEPA 2-AC (arXiv:2506.09985, section 4).
    """

    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if any(count < 1 for count in self.steps):
            raise EvaluationError(
                f"subgoal_steps is {list(self.steps)}; allowed are numbers of actions of at least 1, one for each "
                "sub-goal."
            )

    def current(self, actions: int, reached: Sequence[bool], before: int) -> int:
        """Return the index of the sub-goal to pursue after a number of actions; `before` is the present one."""
        if self.steps:
            return sum(actions >= end for end in [*accumulate(self.steps)][:-1])
        while before < len(reached) - 1 and reached[before]:
            before += 1
        return before


class GoalSequence:
    """The goals of a running episode.

    Args:
        info: The environment's after the reset: `goal_image`, and for sub-goals `subgoal_images`, uint8
            `[G, H, W, 3]`, perhaps `subgoal_names`, and `subgoals_reached`, bool `[G]`, unless the schedule has steps;
            with `_CAMERA` after the name the images of further cameras.
        schedule: When to go on to the next sub-goal; None pursues the goal from the start.
        views: V, cameras whose images are put side by side.

    Attributes:
        names: Names of the sub-goals; empty without a schedule.
        current: Index of the goal that is pursued.

    Raises:
        EvaluationError: If the environment has no sub-goals, or they do not fit the schedule.
        ConfigError: If the goal is not shown by as many cameras.
    """

    def __init__(self, info: Mapping[str, Any], schedule: SubGoalSchedule | None, *, views: int = 1) -> None:
        self._schedule = schedule
        self._images: Sequence[np.ndarray] = [side_by_side(info, "goal_image", views=views)]
        self.names: tuple[str, ...] = ()
        self.current = 0
        if schedule is not None:
            _check(info, schedule)
            self._images = list(side_by_side(info, "subgoal_images", views=views))
            numbered = (f"sub-goal {index + 1}" for index in range(len(self._images)))
            self.names = tuple(info.get("subgoal_names", numbered))
            self.advance(info, actions=0)

    @property
    def image(self) -> np.ndarray:
        """The image of the goal that is pursued, uint8 `[H, V*W, 3]`."""
        return self._images[self.current]

    def advance(self, info: Mapping[str, Any], *, actions: int) -> bool:
        """Go on to the next sub-goal if its turn has come after `actions`; return whether the goal has changed."""
        if self._schedule is None:
            return False
        before = self.current
        self.current = self._schedule.current(actions, info.get("subgoals_reached", ()), before)
        return self.current != before


def _check(info: Mapping[str, Any], schedule: SubGoalSchedule) -> None:
    """Check that an environment has the sub-goals that a schedule is for."""
    needed = ["subgoal_images", *([] if schedule.steps else ["subgoals_reached"])]
    missing = [key for key in needed if key not in info]
    if missing:
        raise EvaluationError(
            f"goals=subgoals needs {' and '.join(missing)} in the environment's info after reset, which has only "
            f"{', '.join(info)}. Evaluate in an environment with sub-goals, such as the arm's tasks with an object "
            f"(env=pick_place){'' if 'subgoal_images' in missing else ', give subgoal_steps'}, or leave goals=final."
        )
    shape, wanted = np.shape(info["subgoal_images"]), np.shape(info["goal_image"])
    if shape[1:] != wanted or not shape[0]:
        raise EvaluationError(
            f"info['subgoal_images'] has shape {list(shape)}; allowed is [G, {', '.join(map(str, wanted))}], the size "
            "of the goal image. Change the environment."
        )
    if schedule.steps and len(schedule.steps) != shape[0]:
        names = ", ".join(info.get("subgoal_names", ())) or "without names"
        raise EvaluationError(
            f"subgoal_steps is {list(schedule.steps)}, and the environment has {counted(shape[0], 'sub-goal')} "
            f"({names}); give a number of actions for each."
        )
