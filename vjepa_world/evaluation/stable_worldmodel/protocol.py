"""Runs a policy by stable-worldmodel's `World.evaluate`: starts and goals from recorded episodes, two criteria.

Legend: n episodes, T steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from vjepa_world.errors import DataError
from vjepa_world.evaluation.stable_worldmodel.policy import WorldPolicy
from vjepa_world.evaluation.stable_worldmodel.strict import Columns, is_held
from vjepa_world.evaluation.stable_worldmodel.worlds import WorldSpec, package
from vjepa_world.evaluation.statistics import SuccessRate, success_rate
from vjepa_world.planning.policy import Policy

#: Of the published results: the goal is so many steps after the start, and there are so many actions.
GOAL_STEPS, BUDGET = 25, 50


@dataclass(frozen=True)
class ProtocolResult:
    """The outcome of n episodes, bool `[n]` each.

    Attributes:
        success: By the world's own criterion, at any step.
        strict: By the strict one, held.
        solved_at_start: Whether the start fulfils the strict criterion, so that doing nothing would.
    """

    success: np.ndarray
    strict: np.ndarray
    solved_at_start: np.ndarray

    @property
    def success_rate(self) -> SuccessRate:
        """The rate by the world's own criterion, with its interval."""
        return success_rate(int(self.success.sum()), len(self.success))

    @property
    def strict_rate(self) -> SuccessRate:
        """The rate by the strict criterion, with its interval."""
        return success_rate(int(self.strict.sum()), len(self.strict))


def choose_pairs(
    lengths: Sequence[int], count: int, *, goal_steps: int, seed: int
) -> tuple[list[int], list[int]]:
    """Return episodes and start steps as the package's `eval_wm.py` draws them: all starts alike, none twice.

    Args:
        lengths: Rows of each episode.
        count: Pairs to draw.
        goal_steps: From the start to the goal.
        seed: The package's is 42.

    Raises:
        DataError: If there are fewer starts.
    """
    starts = [
        (episode, start) for episode, length in enumerate(lengths) for start in range(length - goal_steps)
    ]
    if len(starts) < count:
        raise DataError(
            f"the dataset has {len(starts)} starts with a goal {goal_steps} steps later, and {count} are needed; "
            "record more or longer episodes."
        )
    drawn = np.sort(np.random.default_rng(seed).choice(len(starts), size=count, replace=False))
    chosen = [starts[index] for index in drawn]
    return [episode for episode, _ in chosen], [start for _, start in chosen]


def evaluate_world(
    spec: WorldSpec,
    dataset: Path,
    policy: Policy,
    *,
    episodes: int,
    image_size: int,
    goal_steps: int = GOAL_STEPS,
    budget: int = BUDGET,
    seed: int = 42,
    together: int = 10,
) -> ProtocolResult:
    """Run a policy by `World.evaluate` and evaluate both criteria on the same episodes.

    The worlds do not stop at their own success, since the strict criterion may come later; up to there the actions are
    the same.

    Args:
        spec: The world.
        dataset: Recorded episodes in the package's format, not those that the policy was trained on.
        policy: What acts.
        episodes: n.
        image_size: Height and width of the images [pixels], that of the dataset.
        goal_steps: From the start to the goal.
        budget: Actions of an episode.
        seed: Of the pairs and the policy.
        together: Environments that run together.

    Raises:
        DataError: If the dataset has too few starts.
    """
    source = package().data.load_dataset(str(dataset))
    numbers, starts = choose_pairs(list(source.lengths), episodes, goal_steps=goal_steps, seed=seed)
    acting = WorldPolicy(policy, spec.state, seed=seed)
    found: list[tuple[bool, bool, bool]] = []
    for begin in range(0, episodes, together):
        part = slice(begin, begin + together)
        count = len(numbers[part])
        world = spec.make(count, image_size, 2 * budget, recording=False, extra_wrappers=[Traced])
        world.set_policy(acting)
        world.evaluate(
            dataset=source,
            episodes_idx=numbers[part],
            start_steps=starts[part],
            goal_offset=goal_steps,
            eval_budget=budget,
            callables=list(spec.callables),
        )
        for env, number, start in zip(world.envs.envs, numbers[part], starts[part], strict=True):
            rows = source.load_chunk(
                np.array([number]), np.array([start]), np.array([start + goal_steps + 1])
            )[0]
            found.append(_outcome(spec, env, rows))
        world.close()
    success, strict, at_start = np.array(found, bool).T
    return ProtocolResult(success, strict, at_start)


def _outcome(spec: WorldSpec, env: Any, rows: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    """Return success, strict success and whether the start fulfils the strict criterion."""
    criterion = spec.criterion
    columns = {name: np.asarray(rows[name], np.float64).reshape(len(rows[name]), -1) for name in spec.columns}
    start: Columns = {name: values[0] for name, values in columns.items()}
    goal: Columns = {name: values[-1] for name, values in columns.items()}
    trace = {
        name: np.stack([np.asarray(info[name], np.float64).reshape(-1) for info in env.infos])
        for name in spec.columns
    }
    reached = criterion.reached(start, trace, goal, env.unwrapped)
    at_start = criterion.reached(
        start, {name: value[None] for name, value in start.items()}, goal, env.unwrapped
    )
    return any(env.successes), is_held(reached, criterion.steps), bool(at_start[0])


class Traced(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Stores what the steps of an episode report, and does not end it at a success."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Reset, and forget the episode before."""
        self.infos: list[dict[str, Any]] = []
        self.successes: list[bool] = []
        found: tuple[Any, dict[str, Any]] = self.env.reset(**kwargs)
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Execute an action; `terminated`, which is the world's success, is stored and hidden."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.successes.append(bool(terminated))
        self.infos.append({name: np.copy(value) for name, value in info.items() if name not in _IMAGES})
        hidden = np.zeros_like(info["terminated"])
        return observation, reward, False, truncated, {**info, "terminated": hidden}


#: Columns that are not stored.
_IMAGES = ("pixels", "goal")
