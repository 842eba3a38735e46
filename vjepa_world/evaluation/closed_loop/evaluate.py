"""Closed-loop evaluation: the success rate of a policy with its interval, next to random actions and controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vjepa_world.evaluation.closed_loop.rollout import (
    MAX_ACTIONS,
    Environment,
    Episode,
    check_info,
    rollout,
)
from vjepa_world.evaluation.statistics import EvaluationError, SuccessRate, percentiles, success_rate
from vjepa_world.planning.policy import Policy, RandomPolicy

MAX_DRAWS_PER_EPISODE = 10
"""Seeds tried per episode before a task counts as solved from the start."""

POLICY, RANDOM = "world model", "random actions"
"""Names of the evaluated policy and of the random one, for progress and tables."""


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """The episodes of a closed-loop evaluation.

    Attributes:
        episodes: Episodes of the policy.
        random_episodes: Episodes of random actions from the same seeds.
        controls: Episodes of other policies from the same seeds, by name.
        solved_at_reset: Seeds that were redrawn because the task was solved at the reset.
    """

    episodes: Sequence[Episode]
    random_episodes: Sequence[Episode]
    controls: Mapping[str, Sequence[Episode]] = field(default_factory=dict)
    solved_at_reset: int = 0

    @property
    def success_rate(self) -> float:
        """Share of the episodes in which the goal was reached."""
        return _rate(self.episodes).rate

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return _rate(self.episodes)[1:]

    def metrics(self) -> dict[str, Any]:
        """Return success rates, distances [m] and times [s], ready for JSON; see :func:`summarise`."""
        controls = {
            name: summarise(episodes, self.random_episodes, self.solved_at_reset)
            for name, episodes in self.controls.items()
        }
        summary = summarise(self.episodes, self.random_episodes, self.solved_at_reset)
        return {**summary, "controls": controls}


def evaluate(
    env: Environment,
    policy: Policy,
    *,
    episodes: int = 50,
    seed: int = 0,
    max_actions: int = MAX_ACTIONS,
    random_policy: Policy | None = None,
    controls: Mapping[str, Policy] | None = None,
    on_episode: Callable[[str, Episode], object] = lambda name, episode: None,
) -> EvaluationResult:
    """Run a policy, random actions and controls on the same episodes.

    Args:
        env: The environment.
        policy: The policy that is evaluated.
        episodes: Episodes per policy; those solved at the reset are redrawn and counted.
        seed: Seed of the list of episodes.
        max_actions: Actions after which an episode is cut off.
        random_policy: The random baseline; None draws uniformly from `env.action_space`.
        controls: Other policies to compare with, by name.
        on_episode: Called with the name of the policy and each episode, for progress bars and videos.

    Raises:
        EvaluationError: If `episodes` is below 1, or nearly all candidates begin solved.
    """
    if random_policy is None:
        random_policy = RandomPolicy(env.action_space.low, env.action_space.high)
    seeds, solved = draw_seeds(env, seed, episodes)

    def run(name: str, actor: Policy) -> list[Episode]:
        found = []
        for number in seeds:
            found.append(rollout(env, actor, seed=number, max_actions=max_actions))
            on_episode(name, found[-1])
        return found

    return EvaluationResult(
        random_episodes=run(RANDOM, random_policy),
        episodes=run(POLICY, policy),
        controls={name: run(name, actor) for name, actor in (controls or {}).items()},
        solved_at_reset=solved,
    )


def draw_seeds(env: Environment, seed: int, n: int) -> tuple[list[int], int]:
    """Return `n` seeds whose episodes are not solved at the reset, and how many were redrawn because they are.

    Candidates are the words of `np.random.SeedSequence(seed).generate_state`, in order: a longer list
    begins with the shorter one.

    Raises:
        EvaluationError: If `n` is below 1, or nearly all candidates begin solved.
    """
    if n < 1:
        raise EvaluationError(f"{n} episodes were requested; allowed is at least 1. Request more episodes.")
    candidates = np.random.SeedSequence(seed).generate_state(MAX_DRAWS_PER_EPISODE * n)
    drawn: list[int] = []
    for tried, candidate in enumerate(candidates.tolist(), start=1):
        _, info = env.reset(seed=candidate)
        check_info(info, "success")
        if not info["success"]:
            drawn.append(candidate)
        if len(drawn) == n:
            return drawn, tried - n
    raise EvaluationError(
        f"only {len(drawn)} of {len(candidates)} seeds drawn from seed {seed} begin unsolved, {n} were requested; "
        "a task has to be unsolved at reset. Place its goals farther away."
    )


def summarise(
    episodes: Sequence[Episode], random_episodes: Sequence[Episode], solved_at_reset: int = 0
) -> dict[str, Any]:
    """Return the metrics of a policy and of random actions on the same episodes, ready for JSON.

    Distances are those at the end of the episode [m]; rates have 95 % Wilson intervals.

    Raises:
        EvaluationError: If there are no episodes, or the random ones ran on other seeds.
    """
    seeds, random_seeds = [e.seed for e in episodes], [e.seed for e in random_episodes]
    if not seeds or seeds != random_seeds:
        raise EvaluationError(
            f"{len(seeds)} episodes and {len(random_seeds)} random ones were given, on "
            f"{'the same' if seeds == random_seeds else 'different'} seeds; allowed is at least one, and the same "
            "seeds in the same order for both. Run both policies on one list from draw_seeds."
        )
    own, random = _rate(episodes), _rate(random_episodes)
    median, p90 = percentiles([e.final_distance_m for e in episodes], (50, 90))
    p50, p95, p99 = percentiles([s for e in episodes for s in e.seconds_per_action], (50, 95, 99))
    [initial_median] = percentiles([e.initial_distance_m for e in episodes], (50,))
    [random_median] = percentiles([e.final_distance_m for e in random_episodes], (50,))
    return {
        "episodes": len(episodes),
        "successes": sum(episode.success for episode in episodes),
        "success_rate": own.rate,
        "wilson_low": own.low,
        "wilson_high": own.high,
        "random_success_rate": random.rate,
        "random_wilson_low": random.low,
        "random_wilson_high": random.high,
        "solved_at_reset": solved_at_reset,
        "initial_distance_m": {"median": initial_median},
        "final_distance_m": {"median": median, "p90": p90},
        "random_final_distance_m": {"median": random_median},
        "seconds_per_action": {"p50": p50, "p95": p95, "p99": p99},
    }


def _rate(episodes: Sequence[Episode]) -> SuccessRate:
    return success_rate(sum(episode.success for episode in episodes), len(episodes))
