"""The true simulator as world model: what it imagines is what happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import envs
import vjepa_world as vw
from planners import CEM, GoalL1
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.episode import Episode
from vjepa_world.evaluation.closed_loop.goals import SubGoalSchedule
from vjepa_world.evaluation.closed_loop.rollout import rollouts
from vjepa_world.evaluation.closed_loop.simulator_model import SimulatorModel, SimulatorPolicy, can_imagine
from vjepa_world.planning.policy import Problem

LOW, HIGH = np.full(7, -0.05, np.float32), np.full(7, 0.05, np.float32)


@pytest.fixture(scope="module")
def model() -> vw.LatentWorldModel:
    """A model whose features are pixels."""
    encoder = vw.EncoderConfig(
        image_size=64, patch_size=16, num_frames=2, embed_dim=768, depth=1, num_heads=2
    )
    robot = vw.EmbodimentConfig(action_dim=7, state_dim=7)
    config = vw.WorldModelConfig(
        encoder=encoder,
        encoder_kind="pixels",
        predictor=vw.ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2),
        latents=vw.LatentsConfig(kind="none"),
        embodiments=(robot,),
    )
    found = vw.build_world_model(config, seed=0).eval()
    found.action_low.copy_(torch.from_numpy(LOW))
    found.action_high.copy_(torch.from_numpy(HIGH))
    return found


@pytest.fixture
def env() -> Iterator[Any]:
    made = envs.ArmEnv(envs.Reach(), image_size=64, variation="none")
    yield made
    made.close()


def test_what_is_imagined_is_what_happens_and_the_environment_stays_as_it_was(
    model: vw.LatentWorldModel, env: Any
) -> None:
    first, _ = env.reset(seed=1)
    simulator = SimulatorModel(model, LOW, HIGH)
    simulator.envs = [env]
    moves = torch.from_numpy(np.random.default_rng(0).uniform(LOW, HIGH, (1, 40, 2, 7)).astype(np.float32))
    frames = torch.from_numpy(first["image"]).permute(2, 0, 1)[None, None]
    context = simulator.encode(frames, torch.from_numpy(first["state"])[None, None])
    features, states = simulator.rollout_with_states(context, moves)
    assert features.shape[:3] == (1, 40, 2)
    for step in range(
        2
    ):  # of the last sample; those before it and the 64 frames of a batch left nothing behind
        seen = env.step(moves[0, -1, step].numpy())[0]
        goal = model.encode_goal(torch.from_numpy(seen["image"]).permute(2, 0, 1)[None])
        assert torch.equal(features[0, -1, step], goal[0])
        assert np.array_equal(states[0, -1, step].numpy(), seen["state"])


def test_planning_in_the_simulator_comes_closer_and_the_real_episode_is_undisturbed(
    model: vw.LatentWorldModel, env: Any
) -> None:
    simulator = SimulatorModel(model, LOW, HIGH)
    cem = CEM(simulator, energy=GoalL1(), horizon=1, num_samples=12, num_iterations=2, num_elites=3)
    policy = SimulatorPolicy(simulator, cem, energy=GoalL1(), action_low=LOW, action_high=HIGH)
    [found] = rollouts([env], policy, [Pair(3)], max_actions=4)
    episode = found.episode
    assert episode.energies[-1] < 0.9 * episode.energies[0]
    # The energy of a plan is the energy of what then happens: the model is exact.
    assert episode.plan_energies == pytest.approx(episode.energies[1:], rel=1e-5)


class Staged(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Reach with two sub-goals: the picture of the start, reached after as many actions as it stays, and the goal."""

    def __init__(self, env: Any, stays: int) -> None:
        super().__init__(env)
        self.stays, self.taken = stays, 0

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(**given)
        self.taken = 0
        images = np.stack([observation["image"], info["goal_image"]])
        return observation, info | {"subgoal_images": images, "subgoals_reached": np.array([False, False])}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        *rest, info = super().step(action)
        self.taken += 1
        return (*rest, info | {"subgoals_reached": np.array([self.taken >= self.stays, False])})


def test_episodes_at_different_sub_goals_are_imagined_in_their_own_environments(
    model: vw.LatentWorldModel,
) -> None:
    def run(stays: Sequence[int], seeds: Sequence[int]) -> list[Episode]:
        simulator = SimulatorModel(model, LOW, HIGH)
        cem = CEM(simulator, energy=GoalL1(), horizon=1, num_samples=6, num_iterations=1, num_elites=2)
        policy = SimulatorPolicy(simulator, cem, energy=GoalL1(), action_low=LOW, action_high=HIGH)
        made = [Staged(envs.ArmEnv("reach", image_size=64, variation="none"), count) for count in stays]
        pairs = [Pair(seed) for seed in seeds]
        found = list(rollouts(made, policy, pairs, max_actions=4, subgoals=SubGoalSchedule()))
        for env in made:
            env.close()
        return [recording.episode for recording in sorted(found, key=lambda r: r.episode.index)]

    together = run((1, 3), (3, 4))
    assert [episode.pursued for episode in together] == [(0, 1, 1, 1, 1), (0, 0, 0, 1, 1)]
    for episode, turn in zip(together, (1, 3), strict=True):
        promised, found = list(episode.plan_energies), list(episode.energies[1:])
        # An energy at the turn is already that of the next goal; all others are what the exact model promised.
        assert promised.pop(turn - 1) < found.pop(turn - 1)
        assert promised == pytest.approx(found, rel=1e-5)
    for alone, episode in zip((run((1,), (3,))[0], run((3,), (4,))[0]), together, strict=True):
        assert (alone.distances, alone.energies) == (episode.distances, episode.energies)


def test_only_environments_with_states_can_be_world_models(env: Any) -> None:
    assert can_imagine(env)
    assert not can_imagine(object())
    assert Problem(np.zeros((2, 2, 3), np.uint8), np.random.default_rng(0)).env is None
