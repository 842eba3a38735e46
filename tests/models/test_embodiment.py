"""Several robots in one predictor: separate sizes, scales and bounds that do not affect each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models import reference
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import (
    ActionPredictorConfig,
    EmbodimentConfig,
    EncoderConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.embodiment import Embodiment
from vjepa_world.models.state_transition import advance_state
from vjepa_world.models.world_model import LatentWorldModel

T, N, D = 3, 4, 10
ARM, CART = EmbodimentConfig(name="arm"), EmbodimentConfig(name="cart", action_dim=2, state_dim=5)
CONDITIONS = pytest.mark.parametrize("condition", ["tokens", "adaln"])


def predictor(seed: int | None = 0, **changes: Any) -> ActionPredictor:
    config = ActionPredictorConfig(**{"embed_dim": 24, "depth": 2, "num_heads": 2, **changes})
    made = ActionPredictor(config, D, (2, 2), [ARM, CART])
    if seed is not None:
        reference.randomise(made, seed)
    return made


def inputs(robot: EmbodimentConfig, batch: int = 2, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, T * N, D, generator=generator),
        torch.randn(batch, T, robot.action_dim, generator=generator),
        torch.randn(batch, T, robot.state_dim, generator=generator),
    )


@CONDITIONS
def test_training_one_robot_leaves_the_others_weights_alone(condition: str) -> None:
    model = predictor(condition=condition, predict_state=True)
    assert model.robot() is model.robot("arm")
    features, states = model.forward_with_state(*inputs(CART), embodiment="cart")
    (features.square().sum() + states.square().sum()).backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert not any(name.startswith("embodiments.arm.") for name in touched)
    own = {name for name, _ in model.named_parameters() if name.startswith("embodiments.cart.")}
    assert len(own) == 6 and own <= touched
    assert {"predictor_embed.weight", "predictor_blocks.0.attn.qkv.weight"} <= touched


def test_each_robot_has_statistics_and_bounds_of_its_own() -> None:
    model = predictor()
    arm, cart = model.robot("arm"), model.robot("cart")
    actions = torch.tensor([[1.0, -2.0], [3.0, 6.0]])
    cart.set_statistics(actions, torch.randn(9, 5, generator=torch.Generator().manual_seed(0)))
    cart.action_high.copy_(torch.tensor([3.0, 6.0]))
    assert cart.action_mean.tolist() == [2.0, 2.0]
    torch.testing.assert_close(cart.action_std, torch.tensor([2.0, 8.0]) / 2**0.5)
    assert arm.action_mean.tolist() == [0.0] * 7
    assert arm.action_high.tolist() == [1.0] * 7


def test_numbers_of_another_robot_are_refused_by_name() -> None:
    model = predictor()
    words = (
        "embodiment 'arm' has actions of size 7 and states of size 7, got actions of size 2; name the embodim"
    )
    with pytest.raises(ConfigError, match=words):
        model(*inputs(CART))
    features, actions, _ = inputs(ARM)
    with pytest.raises(ConfigError, match="got states of size 5"):
        model(features, actions, inputs(CART)[2])
    with pytest.raises(ConfigError, match="got actions of size 6"):
        model.robot().set_statistics(torch.zeros(4, 6), torch.zeros(4, 7))
    with pytest.raises(
        ConfigError, match="embodiment 'car' is not known; did you mean 'cart'. Allowed: arm, cart"
    ):
        model.robot("car")


def test_a_name_reserved_by_pytorch_is_refused() -> None:
    config = ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2)
    with pytest.raises(ConfigError, match="an embodiment cannot be called 'train'.*choose another name"):
        ActionPredictor(config, D, (2, 2), [EmbodimentConfig(name="train")])


@CONDITIONS
def test_the_predicted_state_is_the_rules_at_the_start(condition: str) -> None:
    model = predictor(seed=None, condition=condition, predict_state=True)
    given = inputs(ARM)
    model.robot().set_statistics(given[1].flatten(0, 1) * 3 + 1, given[2].flatten(0, 1) * 5 - 2)
    features, states = model.forward_with_state(*given)
    assert torch.equal(states, advance_state(given[2], given[1], robot=model.robot().config))
    assert torch.equal(features, model(*given))


@CONDITIONS
def test_the_predicted_change_is_of_the_standardised_state(condition: str) -> None:
    """Twice the spread, with the same standardised numbers, makes twice the change."""
    model = predictor(condition=condition, predict_state=True).requires_grad_(False)
    features, actions, states = inputs(ARM)
    _, once = model.forward_with_state(features, actions, states)
    once -= advance_state(states, actions, robot=model.robot().config)
    model.robot().state_std.fill_(2.0)
    model.robot().state_mean.fill_(3.0)
    _, twice = model.forward_with_state(features, actions, 2 * states + 3)
    twice -= advance_state(2 * states + 3, actions, robot=model.robot().config)
    torch.testing.assert_close(twice, 2 * once, atol=1e-5, rtol=1e-5)
    assert once.abs().min() > 1e-4


@CONDITIONS
@pytest.mark.parametrize("context_frames", [0, 1])
def test_state_predictions_are_causal(condition: str, context_frames: int) -> None:
    """States depend on features, action and state up to the frame, and are the same step by step."""
    model = predictor(condition=condition, context_frames=context_frames, predict_state=True)
    model.requires_grad_(False)
    given = inputs(ARM)
    features, states = model.forward_with_state(*given)
    for which in range(3):
        changed = [part.clone() for part in given]
        changed[which].unflatten(1, (T, -1))[:, 1] += 1.0
        after = model.forward_with_state(*changed)[1]
        assert torch.equal(after[:, 0], states[:, 0])
        assert (after[:, 1] - states[:, 1]).abs().max() > 1e-3
        assert torch.equal(after[:, 2], states[:, 2]) == (context_frames == 1)
    cache = None
    for t in range(T):
        newest = given[0].unflatten(1, (T, N))[:, t], given[1][:, t], given[2][:, t]
        predicted, state, cache = model.step_with_state(*newest, cache=cache)
        torch.testing.assert_close(predicted, features.unflatten(1, (T, N))[:, t], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(state, states[:, t], atol=1e-5, rtol=1e-5)


def test_without_a_head_no_states_are_predicted() -> None:
    with pytest.raises(
        ConfigError, match="predicts no states; fine-tune one with predictor.predict_state=true"
    ):
        predictor().forward_with_state(*inputs(ARM))
    assert not any("state_head" in name for name in predictor().state_dict())


def test_statistics_are_detached_from_the_autograd_graph() -> None:
    robot = Embodiment(CART, 8)
    robot.set_statistics(torch.randn(6, 2, requires_grad=True), torch.randn(6, 5, requires_grad=True))
    assert not robot.action_std.requires_grad and not robot.state_mean.requires_grad


@pytest.mark.parametrize("predict_state", [False, True])
def test_a_robot_without_a_state_plans_several_steps_from_images_alone(predict_state: bool) -> None:
    config = WorldModelConfig(
        encoder=EncoderConfig(image_size=32, num_frames=2, embed_dim=24, depth=1, num_heads=2),
        predictor=ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2, predict_state=predict_state),
        embodiments=(EmbodimentConfig(action_dim=2, state_dim=0, numbers="given", actions="given"),),
        latents=LatentsConfig(kind="none"),
    )
    model = LatentWorldModel(config).eval()
    frames = torch.randint(0, 256, (2, 1, 3, 32, 32), dtype=torch.uint8)
    actions = torch.randn(2, 3, 4, 2)
    found = model.rollout(model.encode(frames, None), actions)
    assert found.shape == (2, 3, 4, 4, 24)
    torch.testing.assert_close(found, model.rollout(model.encode(frames, torch.zeros(2, 1, 0)), actions))
    with pytest.raises(CheckpointError, match="trained with states of size 0, got 3"):
        model.encode(frames, torch.zeros(2, 1, 3))


def test_choices_are_declared_to_planners() -> None:
    config = EmbodimentConfig(action_dim=5, state_dim=0, numbers="given", actions="choice")
    assert Embodiment(config, 8).action_type == "choice"
