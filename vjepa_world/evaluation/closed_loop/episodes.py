"""Episodes: a policy acts in an environment until the goal is reached or its actions are used up.

Environments are met through `Environment` alone: nothing of `envs`, MuJoCo or Gymnasium is imported.
Shapes: T actions carried out, H W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, SupportsFloat

import numpy as np

from vjepa_world.evaluation.closed_loop.policies import Observation, PlannerPolicy, Policy, RandomPolicy
from vjepa_world.evaluation.statistics import EvaluationError, percentiles, wilson_interval

__all__ = [
    "Environment",
    "Episode",
    "EpisodeSeed",
    "PlannerPolicy",
    "Policy",
    "RandomPolicy",
    "draw_episodes",
    "run_episode",
    "run_episodes",
    "summarise",
]

MAX_ACTIONS = 20
"""Actions allowed in an episode of Reach."""

MAX_DRAWS_PER_EPISODE = 10
"""Seeds tried for each episode wanted, before a task is called solved from the start."""

_POLICY_STREAM = 1
"""Keeps a policy's numbers apart from the environment's, which are drawn from the bare seed."""


class Environment(Protocol):
    """A Gymnasium environment with `image` and `state` observations and `success`, `distance` [m] in `info`.

    After `reset`, `info["goal_image"]` is the goal, uint8 `[H, W, 3]`.
    """

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode: observation and info."""

    def step(self, action: Any, /) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Carry out an action: observation, reward, terminated, truncated, info."""


@dataclass(frozen=True)
class EpisodeSeed:
    """A seed whose goal is not reached yet at reset.

    Attributes:
        seed: For `Environment.reset`.
        solved_at_reset: Seeds passed over right before this one, because they began solved.
    """

    seed: int
    solved_at_reset: int


@dataclass(frozen=True, eq=False)
class Episode:
    """What happened.

    Attributes:
        seed: The environment's.
        solved_at_reset: Seeds passed over to find this one.
        success: Whether the goal was reached after any action.
        initial_distance_m: To the goal, at reset.
        distances_m: To the goal after each action, T.
        seconds_per_action: What the policy took for each action, encoding included, T.
        frames: What the camera saw, uint8 `[T + 1, H, W, 3]`, from reset on.
        goal_image: uint8 `[H, W, 3]`.
        energies: The policy's energy of each frame, T + 1; empty where it has none.
        plan_energies: What each action's plan promised, T; empty where nothing was planned.
    """

    seed: int
    solved_at_reset: int
    success: bool
    initial_distance_m: float
    distances_m: tuple[float, ...]
    seconds_per_action: tuple[float, ...]
    frames: np.ndarray
    goal_image: np.ndarray
    energies: tuple[float, ...]
    plan_energies: tuple[float, ...]

    @property
    def steps(self) -> int:
        """T, actions carried out."""
        return len(self.distances_m)

    @property
    def final_distance_m(self) -> float:
        """Distance to the goal when the episode ended."""
        return self.distances_m[-1]


def draw_episodes(env: Environment, seed: int, n: int) -> list[EpisodeSeed]:
    """Return `n` seeds that do not begin solved, to be run by every policy alike.

    Candidates are the words of `np.random.SeedSequence(seed).generate_state`, in order: a longer list
    begins with the shorter one. Each is tried by a reset; those solved at reset are passed over.

    Raises:
        EvaluationError: If `n` is below 1, or nearly all candidates begin solved.
    """
    if n < 1:
        raise EvaluationError(f"{n} episodes were asked for; allowed is at least 1. Ask for more episodes.")
    candidates = np.random.SeedSequence(seed).generate_state(MAX_DRAWS_PER_EPISODE * n)
    drawn: list[EpisodeSeed] = []
    passed_over = 0
    for candidate in candidates.tolist():
        _, info = env.reset(seed=candidate)
        if info["success"]:
            passed_over += 1
            continue
        drawn.append(EpisodeSeed(candidate, passed_over))
        passed_over = 0
        if len(drawn) == n:
            return drawn
    raise EvaluationError(
        f"only {len(drawn)} of {len(candidates)} seeds drawn from seed {seed} begin unsolved, {n} were asked for; "
        "a task has to be unsolved at reset. Make its goals lie farther away."
    )


def run_episode(
    env: Environment,
    policy: Policy,
    seed: int,
    *,
    solved_at_reset: int = 0,
    max_actions: int = MAX_ACTIONS,
) -> Episode:
    """Run one episode, until the environment ends it or `max_actions` are used up.

    Everything random in the environment comes from `seed`, everything in the policy from a generator
    made of `seed` and a constant, so that the two never share their numbers.

    Raises:
        EvaluationError: If `max_actions` is below 1.
    """
    if max_actions < 1:
        raise EvaluationError(f"max_actions is {max_actions}; allowed is at least 1. Raise it.")
    observation, info = env.reset(seed=seed)
    goal_image = np.array(info["goal_image"])
    policy.reset(goal_image, np.random.default_rng([seed, _POLICY_STREAM]))
    recorder = _Recorder(policy)
    recorder.see(observation)
    initial_distance_m = float(info["distance"])
    success, ended = False, False
    while not ended and len(recorder.distances_m) < max_actions:
        action = recorder.act(observation)
        observation, _, terminated, truncated, info = env.step(action)
        recorder.see(observation)
        recorder.distances_m.append(float(info["distance"]))
        success = success or bool(info["success"])
        ended = terminated or truncated
    return Episode(
        seed=seed,
        solved_at_reset=solved_at_reset,
        success=success,
        initial_distance_m=initial_distance_m,
        distances_m=tuple(recorder.distances_m),
        seconds_per_action=tuple(recorder.seconds),
        frames=np.stack(recorder.frames),
        goal_image=goal_image,
        energies=tuple(recorder.energies),
        plan_energies=tuple(recorder.plan_energies),
    )


def run_episodes(
    env: Environment, policy: Policy, draws: Sequence[EpisodeSeed], *, max_actions: int = MAX_ACTIONS
) -> Iterator[Episode]:
    """Run a policy on drawn episodes, one after the other; yields each as it ends."""
    for draw in draws:
        yield run_episode(
            env, policy, draw.seed, solved_at_reset=draw.solved_at_reset, max_actions=max_actions
        )


def summarise(episodes: Sequence[Episode], random_episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return the figures of an evaluation beside random actions on the same episodes, ready for JSON.

    Distances are those at the end of the episode [m]; rates have 95 % Wilson intervals.

    Raises:
        EvaluationError: If there are no episodes, or the random ones ran on other seeds.
    """
    seeds, random_seeds = [e.seed for e in episodes], [e.seed for e in random_episodes]
    if not seeds or seeds != random_seeds:
        raise EvaluationError(
            f"{len(seeds)} episodes and {len(random_seeds)} random ones were given, on "
            f"{'the same' if seeds == random_seeds else 'different'} seeds; allowed is at least one, and the same "
            "seeds in the same order for both. Run both policies on one list from draw_episodes."
        )
    n, successes = len(episodes), sum(e.success for e in episodes)
    low, high = wilson_interval(successes, n)
    random_successes = sum(e.success for e in random_episodes)
    random_low, random_high = wilson_interval(random_successes, n)
    median, p90 = percentiles([e.final_distance_m for e in episodes], (50, 90))
    p50, p95, p99 = percentiles([s for e in episodes for s in e.seconds_per_action], (50, 95, 99))
    [initial_median] = percentiles([e.initial_distance_m for e in episodes], (50,))
    [random_median] = percentiles([e.final_distance_m for e in random_episodes], (50,))
    return {
        "episodes": n,
        "successes": successes,
        "success_rate": successes / n,
        "wilson_low": low,
        "wilson_high": high,
        "random_success_rate": random_successes / n,
        "random_wilson_low": random_low,
        "random_wilson_high": random_high,
        "solved_at_reset": sum(e.solved_at_reset for e in episodes),
        "initial_distance_m": {"median": initial_median},
        "final_distance_m": {"median": median, "p90": p90},
        "random_final_distance_m": {"median": random_median},
        "seconds_per_action": {"p50": p50, "p95": p95, "p99": p99},
    }


class _Recorder:
    """Keeps what an episode shows. Energies are measured outside the time that an action takes."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.frames: list[np.ndarray] = []
        self.distances_m: list[float] = []
        self.seconds: list[float] = []
        self.energies: list[float] = []
        self.plan_energies: list[float] = []

    def see(self, observation: Observation) -> None:
        self.frames.append(np.array(observation["image"]))
        energy = self.policy.energy(observation)
        if energy is not None:
            self.energies.append(energy)

    def act(self, observation: Observation) -> np.ndarray:
        started = time.perf_counter()
        action = self.policy.act(observation)
        self.seconds.append(time.perf_counter() - started)
        if self.policy.plan_energy is not None:
            self.plan_energies.append(self.policy.plan_energy)
        return action
