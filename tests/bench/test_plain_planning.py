"""The plain planning loop gives the same results as our world model and planner."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import CEM, GoalL1, make_generators
from planners.protocols import Plan
from planners.sampling import white_noise
from vjepa_world.bench.references.planning import (
    PlainPlan,
    PlainPlanner,
    PlainSearch,
    next_poses,
    plain_predictor,
)
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.context import Context
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.pose import apply_action

PREDICTOR = ActionPredictorConfig(
    embed_dim=48,
    depth=2,
    num_heads=2,
    residual=False,
    context_frames=0,
    normalize=True,
    wrap_angles=True,
)
CONFIG = WorldModelConfig(
    encoder=EncoderConfig(image_size=24, patch_size=8, embed_dim=24, depth=1, num_heads=2),
    predictor=PREDICTOR,
    latents=LatentsConfig(kind="none"),
    inverse=InverseConfig(horizon=0),
    decoder=DecoderConfig(image_size=0),
)
SEARCH = PlainSearch(elites=3, gripper_std=0.75)
SAMPLES, ITERATIONS = 12, 3


@pytest.fixture(scope="module")
def model() -> LatentWorldModel:
    """A world model with random weights and statistics."""
    torch.manual_seed(0)
    model = LatentWorldModel(CONFIG)
    robot = model.predictor.robot()
    with torch.no_grad():
        for parameter in model.predictor.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    robot.set_statistics(0.3 * torch.randn(50, 7) + 0.1, 0.5 * torch.randn(50, 7) - 0.2)
    high = torch.tensor([SEARCH.maxnorm_m] * 3 + [0.0] * 3 + [SEARCH.gripper])
    robot.action_high.copy_(high)
    robot.action_low.copy_(-high)
    return model.eval()


def planner_of(model: LatentWorldModel, dtype: torch.dtype = torch.float32) -> PlainPlanner:
    return PlainPlanner(plain_predictor(model), SEARCH, dtype)


def scene(frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features `[1, T, 9, 24]`, poses `[1, T, 7]`, a goal `[1, 9, 24]`, and the actions between `[1, T-1, 7]`."""
    generator = torch.Generator().manual_seed(frames)
    features = torch.randn(1, frames, 9, 24, generator=generator)
    states = torch.rand(1, frames, 7, generator=generator) - 0.3
    goal = torch.randn(1, 9, 24, generator=generator)
    return features, states, goal, 0.3 * torch.randn(1, frames - 1, 7, generator=generator)


def actions_of(samples: int, horizon: int) -> Tensor:
    """Actions with rotation, `[S, K, 7]`."""
    return 0.3 * torch.randn(samples, horizon, 7, generator=torch.Generator().manual_seed(5))


def searched(model: LatentWorldModel, horizon: int) -> tuple[Plan, PlainPlan]:
    """Return our plan and the plain one, from the same noise."""
    features, states, goal, _ = scene(1)
    ours = CEM(
        model,
        energy=GoalL1(),
        horizon=horizon,
        num_samples=SAMPLES,
        num_iterations=ITERATIONS,
        num_elites=SEARCH.elites,
        momentum_mean=SEARCH.momentum_mean,
        momentum_std=[SEARCH.momentum_std] * 6 + [SEARCH.gripper_momentum],
        answer="mean",
    ).plan(Context(features, states), goal, generators=make_generators([3]))
    generators = make_generators([3])
    noise = [white_noise(torch.zeros(1, horizon, 7), SAMPLES, generators)[0] for _ in range(ITERATIONS)]
    return ours, planner_of(model).plan(features, states, goal, torch.stack(noise))


@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_energies_are_those_of_our_rollout(model: LatentWorldModel, horizon: int) -> None:
    features, states, goal, _ = scene(1)
    actions = actions_of(5, horizon)
    predicted = model.rollout(Context(features, states), actions[None])
    expected = GoalL1()(predicted, goal, actions[None])[0]
    found = planner_of(model).energies(features, states, goal, actions)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0.0)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_plain_search_equals_ours_with_the_same_noise(model: LatentWorldModel, horizon: int) -> None:
    ours, plain = searched(model, horizon)
    torch.testing.assert_close(plain.mean, ours.actions[0], rtol=1e-4, atol=1e-6)
    for energies, elites, iteration in zip(plain.energies, plain.elites, ours.iterations, strict=True):
        torch.testing.assert_close(energies, iteration.energies[0], rtol=1e-5, atol=0.0)
        assert sorted(elites.tolist()) == iteration.selected[0].nonzero().flatten().tolist()
    assert plain.energies.shape == (ITERATIONS, SAMPLES)
    searched_axes = plain.mean[:, [0, 1, 2, 6]]
    assert (searched_axes != 0).any(dim=0).all() and searched_axes.abs().max() > 0.1


def test_the_last_features_are_those_of_the_last_energies(model: LatentWorldModel) -> None:
    _, plain = searched(model, 2)
    distance = (plain.features - scene(1)[2]).abs().flatten(1).mean(dim=1)
    torch.testing.assert_close(distance, plain.energies[-1])


def test_small_changes_of_the_gripper_are_set_to_zero(model: LatentWorldModel) -> None:
    features, states, goal, _ = scene(1)
    noise = torch.randn(1, SAMPLES, 8, 7, generator=torch.Generator().manual_seed(1))
    plan = planner_of(model).plan(features, states, goal, noise)
    small = plan.mean[:, 6].abs() < 0.25
    assert small.any() and not small.all()
    assert torch.equal(plan.actions[:, 6], torch.where(small, 0.0, plan.mean[:, 6]))
    assert torch.equal(plan.actions[:, :6], plan.mean[:, :6])


def test_earlier_frames_are_used_with_their_actions(model: LatentWorldModel) -> None:
    features, states, _, past = scene(3)
    actions = actions_of(1, 2)
    found = planner_of(model).rollout(features, states, actions, past)
    taken = torch.cat([past, actions], dim=1)
    with torch.no_grad():
        for count in (3, 4):
            after = model.predictor(features.flatten(1, 2), taken[:, :count], states)[:, -9:]
            newest = model.predictor.normalize_prediction(after)
            features = torch.cat([features, newest.unsqueeze(1)], dim=1)
            following = apply_action(states[:, -1:], taken[:, count - 1 : count], wrap=True)
            states = torch.cat([states, following], dim=1)
    torch.testing.assert_close(found, features[:, -1], rtol=1e-5, atol=1e-5)
    other = planner_of(model).rollout(*scene(3)[:2], actions, past + 1)
    assert (other - found).abs().max() > 1e-2


def test_bfloat16_gives_the_same_with_less_precision(model: LatentWorldModel) -> None:
    features, states, _, _ = scene(1)
    exact = planner_of(model).rollout(features, states, actions_of(4, 2))
    half = planner_of(model, torch.bfloat16).rollout(features, states, actions_of(4, 2)).float()
    error = (half - exact).abs().max().item()
    assert 1e-4 < error < 0.2


def test_poses_are_those_of_the_batched_rule_one_by_one() -> None:
    generator = torch.Generator().manual_seed(2)
    poses = torch.randn(20, 1, 7, generator=generator, dtype=torch.float64)
    actions = torch.randn(20, 1, 7, generator=generator, dtype=torch.float64)
    expected = apply_action(poses, actions, wrap=True)
    torch.testing.assert_close(next_poses(poses, actions), expected)
    assert set(expected[..., 6].unique().tolist()) >= {0.0, 1.0}
    assert next_poses(poses.float(), actions.float()).dtype == torch.float32


def test_poses_are_right_at_the_gimbal_lock() -> None:
    upright = torch.tensor([[[0.0, 0.0, 0.0, 0.3, np.pi / 2, 0.2, 0.0]]], dtype=torch.float64)
    nothing = torch.zeros(1, 1, 7, dtype=torch.float64)
    turn = torch.tensor([[[0.0, 0.0, 0.0, 0.0, -1.0, 0.4, 0.0]]], dtype=torch.float64)
    final = next_poses(next_poses(upright, nothing), turn)
    torch.testing.assert_close(final, apply_action(upright, turn, wrap=True))


def test_a_model_of_another_kind_is_refused() -> None:
    residual = dataclasses.replace(CONFIG, predictor=dataclasses.replace(PREDICTOR, residual=True))
    with pytest.raises(ConfigError, match="got a predictor with {'residual': True}, a grid of 3 x 3 tokens"):
        plain_predictor(LatentWorldModel(residual))


def test_too_long_a_horizon_is_refused(model: LatentWorldModel) -> None:
    planner = PlainPlanner(plain_predictor(model, frames=3), SEARCH, torch.float32)
    features, states, _, past = scene(2)
    assert planner.rollout(features, states, actions_of(2, 2), past).shape == (2, 9, 24)
    with pytest.raises(
        ConfigError, match="2 frames and a horizon of 3 need 4 frames at once; .* built for 3"
    ):
        planner.rollout(features, states, actions_of(2, 3), past)


def test_past_actions_that_are_missing_are_refused(model: LatentWorldModel) -> None:
    features, states, _, past = scene(3)
    planner = planner_of(model)
    with pytest.raises(ConfigError, match="3 frames come with 0 past actions; expected .*, 2"):
        planner.rollout(features, states, actions_of(2, 1))
    with pytest.raises(ConfigError, match="3 frames come with 1 past actions"):
        planner.rollout(features, states, actions_of(2, 1), past[:, 1:])
