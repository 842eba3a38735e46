"""The masked predictor against the slow reference."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.models import reference
from vjepa_world.models.config import MaskedPredictorConfig
from vjepa_world.models.masked_predictor import MaskedPredictor

GRID = (2, 3, 3)
CONTEXT = torch.tensor([[0, 2, 5, 9, 11], [1, 3, 6, 12, 16]])
TARGET = torch.tensor([[1, 4, 13, 17], [0, 2, 7, 8]])


def tiny_predictor() -> MaskedPredictor:
    config = MaskedPredictorConfig(embed_dim=24, depth=2, num_heads=2, mlp_ratio=2.0)
    predictor = MaskedPredictor(config, encoder_dim=10).requires_grad_(False)
    reference.randomise(predictor, seed=0, std=0.5)
    return predictor


def features() -> Tensor:
    return torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(1))


def slow(
    predictor: MaskedPredictor, seen: Tensor, context: list[int], target: list[int], mask: int
) -> Tensor:
    weights = reference.float64_weights(predictor)
    grid_positions = reference.grid(*GRID)
    tokens = [reference.linear(x.double(), weights, "predictor_embed") for x in seen]
    tokens += [weights[f"mask_tokens.{mask}"][0, 0]] * len(target)
    positions = [grid_positions[i] for i in context + target]
    tokens = reference.transformer(tokens, weights, "predictor_blocks", 2, 2, positions)[len(context) :]
    normal = [reference.layer_norm(x, weights, "predictor_norm") for x in tokens]
    return torch.stack([reference.linear(x, weights, "predictor_proj") for x in normal])


def test_forward_equals_the_reference_transformer_over_context_and_mask_tokens() -> None:
    predictor = tiny_predictor()
    for mask in range(2):
        predicted = predictor(features(), CONTEXT, TARGET, GRID, mask).double()
        assert predicted.shape == (2, 4, 10)
        for clip in range(2):
            expected = slow(predictor, features()[clip], CONTEXT[clip].tolist(), TARGET[clip].tolist(), mask)
            reference.assert_close(predicted[clip], expected)


def test_permuted_targets_are_permuted_predictions() -> None:
    predictor, order = tiny_predictor(), [2, 0, 3, 1]
    straight = predictor(features(), CONTEXT, TARGET, GRID, 0)
    permuted = predictor(features(), CONTEXT, TARGET[:, order], GRID, 0)
    reference.assert_close(permuted, straight[:, order])
    assert (straight[:, 0] - straight[:, 1]).abs().max() > 1e-2


def test_the_order_of_the_context_does_not_matter_but_its_positions_do() -> None:
    predictor, order = tiny_predictor(), [4, 2, 0, 1, 3]
    straight = predictor(features(), CONTEXT, TARGET, GRID, 0)
    permuted = predictor(features()[:, order], CONTEXT[:, order], TARGET, GRID, 0)
    reference.assert_close(permuted, straight)
    moved = predictor(features()[:, order], CONTEXT, TARGET, GRID, 0)
    assert (moved - straight).abs().max() > 1e-2


def test_each_mask_family_has_its_own_token() -> None:
    predictor = tiny_predictor()
    first, second = (predictor(features(), CONTEXT, TARGET, GRID, mask) for mask in range(2))
    assert (first - second).abs().max() > 1e-2
