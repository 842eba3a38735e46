"""Episodes, several at once: a policy acts in copies of an environment until each episode ends.

Shapes: B episodes that run together, T actions of an episode, H W pixels, V views.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from vjepa_world.data.trajectories.trajectory import EVENTS
from vjepa_world.evaluation.closed_loop.attribution import environment_errors
from vjepa_world.evaluation.closed_loop.environment import Environment, Pair, action_for
from vjepa_world.evaluation.closed_loop.episode import Episode, Recording
from vjepa_world.evaluation.closed_loop.goals import GoalSequence, SubGoalSchedule
from vjepa_world.evaluation.closed_loop.pairs.appearance import Appearance
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.planning.cameras import side_by_side
from vjepa_world.planning.policy import Observation, Policy, Problem

MAX_ACTIONS = 1000
"""Actions after which an episode is cut off if the environment does not end it."""

HELD_ACTIONS = 3
"""Actions in a row after which a goal that stays reached counts as held."""

_POLICY_STREAM = 1
"""Separates the random numbers of the policy from those of the environment, which uses the bare seed."""


def rollout(
    env: Environment,
    policy: Policy,
    *,
    seed: int,
    max_actions: int = MAX_ACTIONS,
    subgoals: SubGoalSchedule | None = None,
) -> Recording:
    """Run one episode; see :func:`rollouts`."""
    [recording] = rollouts([env], policy, [Pair(seed)], max_actions=max_actions, subgoals=subgoals)
    return recording


def rollouts(
    envs: Sequence[Environment],
    policy: Policy,
    pairs: Sequence[Pair],
    *,
    appearances: Sequence[Appearance] = (),
    name: str = "the policy",
    max_actions: int = MAX_ACTIONS,
    subgoals: SubGoalSchedule | None = None,
) -> Iterator[Recording]:
    """Run an episode of each pair, as many together as there are environments, and yield each when it has ended.

    An episode ends once the goal was held for three actions, after `max_actions`, or when the environment truncates it
    or terminates it without a success. It goes on after a success, unless `metadata["ends_at_success"]` forbids it.

    All randomness of the environment comes from the pair, that of the policy from a generator seeded with the pair's
    seed and a constant, so that the two never use the same numbers, and no episode depends on another one.

    Args:
        envs: Copies of one environment.
        policy: The policy.
        pairs: Starts and goals.
        appearances: What each pair has to look like after its reset; empty for no check.
        name: What the policy is called in errors.
        max_actions: Actions after which an episode is cut off, at least 1.
        subgoals: When the policy is given the next sub-goal; None gives it the goal from the start. Success is of the
            goal in both cases, and the energy of an observation that of the goal which is pursued from then on.

    Raises:
        EvaluationError: If `max_actions` is below 1, `info` lacks a key, sub-goals are requested of an environment
            that has none, or an environment fails or does not reproduce a pair.
    """
    if max_actions < 1:
        raise EvaluationError(f"max_actions is {max_actions}; allowed is at least 1. Raise it.")
    views: int = getattr(policy, "views", 1)
    for first in range(0, len(pairs), len(envs)):
        together = enumerate(pairs[first : first + len(envs)], start=first)
        running = [
            _Running(env, *entry, subgoals, name, views) for env, entry in zip(envs, together, strict=False)
        ]
        for episode, expected in zip(running, appearances[first:], strict=False):
            episode.check_appearance(expected)
        yield from _run_together(running, policy, max_actions)


@torch.no_grad()
def _run_together(running: list[_Running], policy: Policy, max_actions: int) -> Iterator[Recording]:
    policy.reset([episode.problem for episode in running])
    _add_energies(running, policy)
    while running:
        started = time.perf_counter()
        actions = policy.act([episode.observation for episode in running])
        seconds = (time.perf_counter() - started) / len(running)
        plan_energies: Sequence[float | None] = policy.plan_energies or [None] * len(running)
        for episode, action, plan_energy in zip(running, actions, plan_energies, strict=True):
            episode.step(action, seconds, plan_energy)
        goals = {index: episode.goals.image for index, episode in enumerate(running) if episode.has_new_goal}
        if goals:
            policy.set_goals(goals)
        _add_energies(running, policy)
        left = [index for index, episode in enumerate(running) if not episode.has_ended(max_actions)]
        if len(left) < len(running):
            yield from (episode.recording() for episode in running if episode.has_ended(max_actions))
            running = [running[index] for index in left]
            if running:
                policy.select(left)


def _add_energies(running: Sequence[_Running], policy: Policy) -> None:
    """Measure the energies of the newest observations; their time is not part of an action's."""
    energies = policy.energies([episode.observation for episode in running])
    if energies is not None:
        for episode, energy in zip(running, energies, strict=True):
            episode.energies.append(float(energy))


class _Running:
    """An episode that is running in an environment."""

    def __init__(
        self,
        env: Environment,
        index: int,
        pair: Pair,
        subgoals: SubGoalSchedule | None,
        policy: str,
        views: int,
    ) -> None:
        self.env, self.index, self.pair, self.views = env, index, pair, views
        self.where = f"pair {index} (seed {pair.seed}) with {policy}"
        self.observation: Observation
        with environment_errors(f"{self.where}, at the reset"):
            self.observation, info = pair.reset(env, "success", "distance", "goal_image")
        self.info: Mapping[str, Any] = info
        self.steps_on = not getattr(env, "metadata", {}).get("ends_at_success", False)
        self.goals = GoalSequence(info, subgoals, views=views)
        self.has_new_goal = False
        self.problem = Problem(self.goals.image, np.random.default_rng([pair.seed, _POLICY_STREAM]), env)
        self.initial_distance = float(info["distance"])
        self.frames, self.goal_images = [self._picture()], [self.goals.image]
        self.pursued = [self.goals.current]
        self.distances: list[float] = []
        self.seconds: list[float] = []
        self.energies: list[float] = []
        self.plan_energies: list[float] = []
        self.subgoals: tuple[bool, ...] = ()
        self.events: set[str] = set()
        self.success, self.streak, self.ended, self.cut_short = False, 0, False, False
        self._note(info)

    def check_appearance(self, expected: Appearance) -> None:
        """Check that the reset gave the start and goal that were drawn.

        Raises:
            EvaluationError: If it gave others.
        """
        differences = expected.differences(Appearance.of(self.observation, self.info["goal_image"]))
        if differences:
            raise EvaluationError(
                f"{self.where} is not the pair that was drawn: {'; '.join(differences)}. Policies are compared on the "
                "same starts and goals: env.reset(seed=, options=) must reproduce both. Draw all that is random in "
                "reset from its seed."
            )

    def step(self, action: np.ndarray, seconds: float, plan_energy: float | None) -> None:
        """Execute an action and record what follows."""
        taken = action_for(self.env.action_space, action)
        with environment_errors(f"{self.where}, at action {len(self.distances) + 1}"):
            self.observation, _, terminated, truncated, info = self.env.step(taken)
        self.frames.append(self._picture())
        self.distances.append(float(info["distance"]))
        self.seconds.append(seconds)
        if plan_energy is not None:
            self.plan_energies.append(plan_energy)
        self.streak = self.streak + 1 if info["success"] else 0
        self.success = self.success or bool(info["success"])
        self.cut_short = terminated and self.success and not self.steps_on
        self.ended = truncated or (terminated and not (self.success and self.steps_on))
        self._note(info)
        self.has_new_goal = self.goals.advance(info, actions=len(self.distances))
        self.goal_images.append(self.goals.image)
        self.pursued.append(self.goals.current)

    def _picture(self) -> np.ndarray:
        """Return what the policy sees, uint8 `[H, V*W, 3]`: a copy, since environments may draw over theirs."""
        return side_by_side(self.observation, views=self.views)

    def has_ended(self, max_actions: int) -> bool:
        return self.ended or self.streak == HELD_ACTIONS or len(self.distances) >= max_actions

    def _note(self, info: Mapping[str, Any]) -> None:
        """Record which sub-goals are reached, and which events occur."""
        reached = tuple(bool(entry) for entry in info.get("subgoals_reached", ()))
        self.subgoals = tuple(
            now or before for now, before in zip(reached, self.subgoals or reached, strict=True)
        )
        self.events.update(name for name in EVENTS if info.get(name))

    def recording(self) -> Recording:
        return Recording(
            Episode(
                index=self.index,
                pair=self.pair,
                success=self.success,
                held=None if self.cut_short else self.streak == HELD_ACTIONS,
                initial_distance=self.initial_distance,
                distances=tuple(self.distances),
                seconds_per_action=tuple(self.seconds),
                energies=tuple(self.energies),
                plan_energies=tuple(self.plan_energies),
                factors={name: _plain(value) for name, value in self.info.get("factors", {}).items()},
                subgoals=self.subgoals,
                subgoal_names=self.goals.names or tuple(self.info.get("subgoal_names", ())),
                pursued=tuple(self.pursued) if self.goals.names else (),
                events=tuple(name for name in EVENTS if name in self.events),
                redrawn_scenes=int(self.info.get("redrawn_scenes", 0)),
            ),
            frames=np.stack(self.frames),
            goal_images=self.goal_images,
        )


def _plain(value: Any) -> bool | str | float:
    """Return a factor as JSON has it, also where NumPy made it."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return value if isinstance(value, str) else float(value)
