"""The action-conditioned predictor: causal in time, standardised, and initialised as copy-last-frame."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models import reference
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import ActionPredictorConfig, EmbodimentConfig

T, SIDE, D, A, S = 3, 2, 10, 7, 6
N = SIDE * SIDE


def tiny_predictor(residual: bool = True, seed: int | None = 0, context_frames: int = 0) -> ActionPredictor:
    config = ActionPredictorConfig(
        embed_dim=24, depth=2, num_heads=2, mlp_ratio=2.0, residual=residual, context_frames=context_frames
    )
    predictor = ActionPredictor(config, D, (SIDE, SIDE), [EmbodimentConfig(action_dim=A, state_dim=S)])
    if seed is not None:
        reference.randomise(predictor, seed)
    return predictor.requires_grad_(False)


def inputs(batch: int = 2, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, T * N, D, generator=generator)
    return (
        features,
        torch.randn(batch, T, A, generator=generator) * 0.05,
        torch.randn(batch, T, S, generator=generator),
    )


def slow(predictor: ActionPredictor, features: Tensor, actions: Tensor, states: Tensor) -> Tensor:
    """Predict for one window: `[T*N, D]`, `[T, A]`, `[T, S]`; tokens of a step: action, state, patches by rows."""
    weights, seen = reference.float64_weights(predictor), predictor.config.context_frames or T
    tokens: list[Tensor] = []
    positions: list[tuple[float, float, float]] = []
    steps: list[int] = []
    for t in range(T):
        time = 0 if seen == 1 else t  # a step that sees no other has no time
        for name, value in (("action", actions[t]), ("state", states[t])):
            robot = "embodiments.default."
            standard = (value.double() - weights[f"{robot}{name}_mean"]) / weights[f"{robot}{name}_std"]
            tokens.append(reference.linear(standard, weights, f"{robot}{name}_encoder"))
            positions.append((time, 0, 0))
        for position, patch in zip(reference.grid(1, SIDE, SIDE), features[t * N : (t + 1) * N], strict=True):
            tokens.append(reference.linear(patch.double(), weights, "predictor_embed"))
            positions.append((time, position[1], position[2]))
        steps += [t] * (2 + N)
    tokens = reference.transformer(
        tokens, weights, "predictor_blocks", 2, 2, positions, lambda i, j: 0 <= steps[i] - steps[j] < seen
    )
    patches = [x for i, x in enumerate(tokens) if i % (2 + N) >= 2]
    normal = [reference.layer_norm(x, weights, "predictor_norm") for x in patches]
    change = torch.stack([reference.linear(x, weights, "predictor_proj") for x in normal])
    return features.double() + change if predictor.config.residual else change


@pytest.mark.parametrize(("residual", "context_frames"), [(True, 0), (True, 1), (False, 0)])
def test_forward_equals_the_reference_transformer(residual: bool, context_frames: int) -> None:
    predictor = tiny_predictor(residual, context_frames=context_frames)
    generator = torch.Generator().manual_seed(2)
    actions = torch.randn(50, A, generator=generator) * 0.05 + 0.01
    predictor.robot().set_statistics(actions, torch.randn(50, S, generator=generator) * 3 + 1)
    features, actions, states = inputs()
    predicted = predictor(features, actions, states).double()
    for clip in range(2):
        expected = slow(predictor, features[clip], actions[clip], states[clip])
        reference.assert_close(predicted[clip], expected)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["features", "actions", "states"])
def test_predictions_do_not_depend_on_later_frames(which: int) -> None:
    predictor, given = tiny_predictor(), inputs()
    rows = N if which == 0 else 1  # features are flat over time
    before = predictor(*given).unflatten(1, (T, N))
    for t in range(T):
        changed = [tensor.clone() for tensor in given]
        changed[which][:, t * rows : (t + 1) * rows] += 1.0
        after = predictor(*changed).unflatten(1, (T, N))
        assert torch.equal(after[:, :t], before[:, :t])
        for later in range(t, T):
            assert (after[:, later] - before[:, later]).abs().max() > 1e-3


def test_with_one_context_frame_predictions_do_not_depend_on_the_past() -> None:
    predictor = tiny_predictor(context_frames=1)
    features, actions, states = inputs()
    whole = predictor(features, actions, states).unflatten(1, (T, N))
    for t in range(T):
        alone = predictor(features[:, t * N : (t + 1) * N], actions[:, t : t + 1], states[:, t : t + 1])
        reference.assert_close(alone, whole[:, t])


def test_a_longer_past_does_not_change_the_first_steps() -> None:
    predictor = tiny_predictor()
    features, actions, states = inputs()
    whole = predictor(features, actions, states)
    for length in range(1, T):
        part = predictor(features[:, : length * N], actions[:, :length], states[:, :length])
        reference.assert_close(part, whole[:, : length * N])


def test_with_the_residual_it_starts_as_copy_last_frame() -> None:
    features, actions, states = inputs()
    assert torch.equal(tiny_predictor(residual=True, seed=None)(features, actions, states), features)
    plain = tiny_predictor(residual=False, seed=None)(features, actions, states)
    assert not torch.equal(plain, features)
    assert plain.any()


def test_statistics_make_the_units_irrelevant() -> None:
    """The same motion in metres or millimetres, and with another origin."""
    predictor = tiny_predictor()
    features, actions, states = inputs()
    predictor.robot().set_statistics(actions.flatten(0, 1), states.flatten(0, 1))
    metres = predictor(features, actions, states)
    predictor.robot().set_statistics(1000 * actions.flatten(0, 1) + 5, 20 * states.flatten(0, 1) - 3)
    torch.testing.assert_close(
        predictor(features, 1000 * actions + 5, 20 * states - 3), metres, atol=1e-3, rtol=1e-3
    )
    assert (predictor(features, actions, states) - metres).abs().max() > 1e-2


def test_statistics_are_the_mean_and_spread_but_noise_keeps_its_scale() -> None:
    predictor = tiny_predictor()
    actions = torch.tensor([[-0.02, 0.001, 7.0], [0.06, 0.003, 7.0]]).repeat(1, 3)[:, :A]
    predictor.robot().set_statistics(actions[:, [0, 1, 2, 0, 1, 2, 0]], torch.zeros(2, S))
    torch.testing.assert_close(predictor.robot().action_mean[:3], torch.tensor([0.02, 0.002, 7.0]))
    torch.testing.assert_close(predictor.robot().action_std[:3], torch.tensor([0.08 / 2**0.5, 1.0, 1.0]))
    assert predictor.robot().state_std.tolist() == [1.0] * S
    assert {"action_mean", "action_std", "state_mean", "state_std"} <= set(predictor.robot().state_dict())
