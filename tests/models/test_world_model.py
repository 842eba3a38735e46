"""The world model: encoding, and rollouts as the predictor applied step by step."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import planners
from planners.protocols import WorldModel
from tests.models import reference
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EmbodimentConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.context import Context
from vjepa_world.models.state_transition import advance_state
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.pixels import normalize_video, resize_frames
from vjepa_world.ops.pose import pose_delta

CONFIG = WorldModelConfig(
    encoder=EncoderConfig(image_size=32, patch_size=8, num_frames=2, embed_dim=16, depth=1, num_heads=2),
    predictor=ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2),
    latents=LatentsConfig(side=2),
    inverse=InverseConfig(horizon=2, embed_dim=16, depth=1, num_heads=2),
    decoder=DecoderConfig(image_size=8, embed_dim=16, depth=1, num_heads=2),
)


def tiny_model(**changes: object) -> LatentWorldModel:
    model = LatentWorldModel(dataclasses.replace(CONFIG, **changes)).eval().requires_grad_(False)  # type: ignore[arg-type]
    reference.randomise(model, seed=0)
    return model


def pictures(count: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), generator=generator).to(torch.uint8)


def context(
    model: LatentWorldModel, problems: int = 2, frames: int = 1, embodiment: str | None = None
) -> Context:
    generator = torch.Generator().manual_seed(3)
    states = torch.rand(
        problems, frames, model.predictor.robot(embodiment).config.state_dim, generator=generator
    )
    frames_seen = pictures(problems * frames).unflatten(0, (problems, frames))
    return model.encode(frames_seen, states, embodiment=embodiment)


@pytest.mark.parametrize(
    "changes",
    [
        {"context_frames": 0},
        {},
        {"residual": False, "context_frames": 0},
        {"residual": False, "context_frames": 0, "normalize": True, "wrap_angles": True},
    ],
)
def test_a_rollout_is_the_predictor_step_by_step(changes: dict[str, Any]) -> None:
    model = tiny_model(predictor=dataclasses.replace(CONFIG.predictor, **changes))
    seen = context(model, problems=2)
    actions = torch.randn(2, 3, 4, 7, generator=torch.Generator().manual_seed(4)) * 0.1
    imagined = model.rollout(seen, actions)
    assert imagined.shape == (2, 3, 4, 4, 16)
    for problem in range(2):
        for sample in range(3):
            features, states = [seen.features[problem, 0]], [seen.states[problem, 0]]
            for step in range(4):
                taken = actions[problem, sample, : step + 1]
                predicted = model.predictor(torch.cat(features)[None], taken[None], torch.stack(states)[None])
                newest = predicted[0, -4:]
                if (
                    "normalize" in changes
                ):  # without the affine map, and the variance without Bessel's correction
                    mean, spread = (
                        newest.mean(dim=-1, keepdim=True),
                        newest.var(dim=-1, correction=0, keepdim=True),
                    )
                    newest = (newest - mean) / (spread + 1e-5).sqrt()
                features.append(newest)
                states.append(advance_state(states[-1], taken[-1], wrap="wrap_angles" in changes))
                torch.testing.assert_close(
                    imagined[problem, sample, step], features[-1], atol=1e-4, rtol=1e-4
                )


def test_angles_are_wrapped_only_with_wrap() -> None:
    """A gripper that points down, turned across pi: V-JEPA 2-AC was trained on angles in [-pi, pi]."""
    pose = torch.tensor([0.4, 0.0, 0.3, 3.13, 0.0, 0.0, 0.5])
    action = torch.tensor([0.0, 0.0, 0.0, 0.05, 0.0, 0.0, 0.0])
    assert advance_state(pose, action)[3].item() == pytest.approx(3.18, abs=1e-5)
    assert advance_state(pose, action, wrap=True)[3].item() == pytest.approx(3.18 - 2 * math.pi, abs=1e-5)


def test_a_rollout_starts_from_the_last_frame_of_the_context() -> None:
    model = tiny_model()
    seen = context(model, problems=2, frames=3)
    actions = torch.zeros(2, 1, 2, 7)
    last = Context(seen.features[:, 2:], seen.states[:, 2:])
    assert torch.equal(model.rollout(seen, actions), model.rollout(last, actions))
    assert not torch.equal(
        model.rollout(seen, actions), model.rollout(Context(last.features, seen.states[:, :1]), actions)
    )


def test_predictions_depend_only_on_the_actions_so_far() -> None:
    model = tiny_model()
    actions = torch.randn(2, 1, 3, 7, generator=torch.Generator().manual_seed(5)) * 0.1
    other = actions.clone()
    other[:, :, 2] += 0.5
    first, second = (model.rollout(context(model), a) for a in (actions, other))
    assert torch.equal(first[:, :, :2], second[:, :, :2])
    assert (first[:, :, 2] - second[:, :, 2]).abs().max() > 1e-3


def test_a_state_of_seven_is_a_pose_and_advances_by_composition() -> None:
    generator = torch.Generator().manual_seed(6)
    pose, action = torch.rand(5, 7, generator=generator), torch.rand(5, 7, generator=generator) * 0.1
    action[:, 6] = 0
    torch.testing.assert_close(pose_delta(pose, advance_state(pose, action)), action, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(advance_state(pose, action), pose + action, atol=1e-4)


def test_other_states_advance_by_addition_and_unequal_ones_not_at_all() -> None:
    assert advance_state(torch.tensor([1.0, 2.0]), torch.tensor([0.5, -1.0])).tolist() == [1.5, 1.0]
    with pytest.raises(
        ConfigError, match="states of size 9 cannot be advanced by actions of size 7.*equal sizes"
    ):
        advance_state(torch.zeros(9), torch.zeros(7))
    model = tiny_model(embodiments=(EmbodimentConfig(state_dim=9),))
    assert model.rollout(context(model), torch.zeros(2, 1, 1, 7)).shape == (2, 1, 1, 4, 16)
    with pytest.raises(ConfigError, match="a rollout of several steps needs equal sizes"):
        model.rollout(context(model), torch.zeros(2, 1, 2, 7))


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_pooling_is_the_mean_of_neighbouring_tokens(pool: int) -> None:
    model = tiny_model(latents=LatentsConfig(side=4 // pool))
    frames = pictures(3)
    tokens = model.encoder(normalize_video(frames).unsqueeze(1))
    tokens = F.layer_norm(tokens, (16,))
    features = model.encode_frames(frames)
    side = 4 // pool
    assert features.shape == (3, side * side, 16)
    for row in range(side):
        for column in range(side):
            members = [
                tokens[:, (row * pool + i) * 4 + column * pool + j] for i in range(pool) for j in range(pool)
            ]
            mean = sum(members) / len(members)
            torch.testing.assert_close(features[:, row * side + column], mean, atol=1e-5, rtol=1e-4)


def test_features_are_layer_normed_but_pixels_are_not() -> None:
    features = tiny_model(latents=LatentsConfig(kind="none")).encode_frames(pictures(2))
    torch.testing.assert_close(features.mean(dim=-1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(dim=-1, correction=0), torch.ones(2, 16), atol=1e-3, rtol=0)
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    pixels = tiny_model(encoder_kind="pixels", latents=LatentsConfig(kind="none")).encode_frames(white)
    torch.testing.assert_close(pixels[0, :, 0], torch.full((16,), (1 - 0.485) / 0.229))


def test_frames_are_encoded_separately_and_goals_like_frames() -> None:
    model, frames = tiny_model(), pictures(4)
    seen = model.encode(frames.unflatten(0, (2, 2)), torch.zeros(2, 2, 7))
    assert seen.features.shape == (2, 2, 4, 16)
    torch.testing.assert_close(seen.features.flatten(0, 1), model.encode_goal(frames), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.encode_goal(frames[2:3]), seen.features[1, :1], atol=1e-5, rtol=1e-4)


def test_pictures_of_another_size_are_resized() -> None:
    model, frames = tiny_model(), pictures(2, (48, 64))
    torch.testing.assert_close(model.encode_frames(frames), model.encode_frames(resize_frames(frames, 32)))
    assert not torch.allclose(
        model.encode_frames(frames), model.encode_frames(frames[..., :32, :32]), atol=1e-2
    )


def test_a_wrong_state_is_refused() -> None:
    model = tiny_model()
    message = "trained with states of size 7, got 6; give the robot's state in the training data's order"
    with pytest.raises(CheckpointError, match=message):
        model.encode(pictures(1)[None], torch.zeros(1, 1, 6))
    with pytest.raises(CheckpointError, match="trained with states of size 7, got none"):
        model.encode(pictures(1)[None], None)


def test_the_encoder_is_frozen_and_the_predictor_is_not() -> None:
    model = LatentWorldModel(CONFIG)
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert sorted(model.trained()) == ["decoder", "inverse", "predictor"]
    assert all(p.requires_grad for p in model.trained().parameters())


def test_it_is_a_world_model_to_planners() -> None:
    model = tiny_model()
    model.action_low.copy_(torch.tensor([-0.05] * 6 + [0.0]))
    model.action_high.copy_(torch.tensor([0.05] * 6 + [0.0]))
    seen_by_planners: WorldModel = model
    cem = planners.CEM(
        seen_by_planners,
        energy=planners.GoalL1(),
        horizon=2,
        num_samples=16,
        num_iterations=3,
        num_elites=4,
    )
    seen, goal = context(model), model.encode_goal(pictures(2, seed=9))
    plan = cem.plan(seen, goal, generators=planners.make_generators([0, 1]))
    assert plan.actions.shape == (2, 2, 7)
    assert bool((plan.actions >= model.action_low).all() and (plan.actions <= model.action_high).all())
    still = (model.rollout(seen, torch.zeros(2, 1, 2, 7))[:, 0, -1] - goal).abs().mean(dim=(1, 2))
    assert bool((plan.energy < still).all())
