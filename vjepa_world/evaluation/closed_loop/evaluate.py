"""Closed-loop evaluation: the success rate of a policy with its interval, next to random actions and other controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vjepa_world.evaluation.closed_loop.environment import Environment, action_bounds
from vjepa_world.evaluation.closed_loop.episode import Episode, Recording
from vjepa_world.evaluation.closed_loop.goals import SubGoalSchedule
from vjepa_world.evaluation.closed_loop.pairs.drawing import Pairs, draw_pairs
from vjepa_world.evaluation.closed_loop.rollout import MAX_ACTIONS, rollouts
from vjepa_world.evaluation.closed_loop.summary import difference, summarise
from vjepa_world.evaluation.statistics import SuccessRate, success_rate
from vjepa_world.planning.policy import Policy, RandomPolicy

POLICY, RANDOM = "world model", "random actions"
"""Names of the evaluated policy and of the random one, for progress and tables."""

EPISODES = 100
"""Pairs of an evaluation, unless another number is requested."""


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """The episodes of a closed-loop evaluation.

    Attributes:
        episodes: Episodes of the policy.
        controls: Episodes of other policies, random actions among them, on the same pairs or the first ones, by name.
        solved_at_reset: Candidates for pairs that were left out because the task was solved at the reset.
    """

    episodes: Sequence[Episode]
    controls: Mapping[str, Sequence[Episode]] = field(default_factory=dict)
    solved_at_reset: int = 0

    @property
    def success_rate(self) -> float:
        """Share of the episodes in which the goal was reached."""
        return self._rate.rate

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return self._rate.low, self._rate.high

    @property
    def _rate(self) -> SuccessRate:
        return success_rate(sum(episode.success for episode in self.episodes), len(self.episodes))

    def metrics(self) -> dict[str, Any]:
        """Return success rates, distances and times [s] of the policy and of each control, ready for JSON.

        See :func:`summarise`. Each control has the difference of the policy's success rate to its own, pair by pair.
        """
        controls = {
            name: summarise(episodes) | {"difference": difference(self.episodes, episodes)}
            for name, episodes in self.controls.items()
        }
        return summarise(self.episodes) | {"solved_at_reset": self.solved_at_reset, "controls": controls}


def evaluate(
    env: Environment | Sequence[Environment],
    policy: Policy,
    *,
    name: str = POLICY,
    episodes: int = EPISODES,
    seed: int = 0,
    pairs: Pairs | None = None,
    max_actions: int = MAX_ACTIONS,
    subgoals: SubGoalSchedule | None = None,
    random_policy: Policy | None = None,
    controls: Mapping[str, Policy] | None = None,
    only_first: Mapping[str, int] | None = None,
    on_episode: Callable[[str, Recording], object] = lambda name, recording: None,
) -> EvaluationResult:
    """Run a policy, random actions and controls on the same pairs of start and goal.

    Frames are passed to `on_episode` and not stored, so that memory does not grow with the number of episodes.

    Args:
        env: The environment, or several copies, whose episodes run together. Results do not depend on their number.
        policy: The policy that is evaluated.
        name: What it is called. `RANDOM` is the random baseline itself, which is then not run again.
        episodes: Pairs to draw; those solved at the reset are left out and counted.
        seed: Seed of the list of pairs.
        pairs: Given pairs; the two arguments above are then not used.
        max_actions: Actions after which an episode is cut off.
        subgoals: When policies are given the next sub-goal; None gives them the goal from the start.
        random_policy: The random baseline; None draws uniformly from `env.action_space`, a box or choices.
        controls: Other policies to compare with, by name.
        only_first: The number of pairs of controls that run on the first ones only, by name.
        on_episode: Called with the name of the policy and each episode, for progress bars and videos.

    Raises:
        EvaluationError: If `episodes` is below 1, nearly all candidates begin solved, `info` lacks a key, sub-goals
            are requested of an environment that has none, or an environment fails or does not reproduce a pair.
    """
    envs = list(env) if isinstance(env, Sequence) else [env]
    if random_policy is None:
        random_policy = RandomPolicy(*action_bounds(envs[0].action_space))
    found = draw_pairs(envs[0], seed, episodes) if pairs is None else pairs
    limits = only_first or {}

    others = {RANDOM: random_policy, **(controls or {})}

    def run(name: str, actor: Policy) -> list[Episode]:
        done = []
        taken = found.pairs[: limits.get(name, len(found.pairs))]
        for recording in rollouts(
            envs,
            actor,
            taken,
            appearances=found.appearances,
            name=name,
            max_actions=max_actions,
            subgoals=subgoals,
        ):
            on_episode(name, recording)
            done.append(recording.episode)
        return sorted(done, key=lambda episode: episode.index)

    return EvaluationResult(
        episodes=run(name, policy),
        controls={other: run(other, actor) for other, actor in others.items() if other != name},
        solved_at_reset=found.solved_at_reset,
    )
