"""Distances to the nearest hidden token against loops over all pairs."""

from __future__ import annotations

import math

import pytest
import torch

from vjepa_world.ops.masking.blocks import sample_masks
from vjepa_world.ops.masking.random import sample_random_masks
from vjepa_world.ops.masking.spec import VJEPA2_MASKS
from vjepa_world.ops.masking.token_distance import distance_to_hidden


def by_loops(context: list[int], hidden: list[int], grid: tuple[int, int, int]) -> list[float]:
    def position(token: int) -> tuple[int, int, int]:
        return token // (grid[1] * grid[2]), token // grid[2] % grid[1], token % grid[2]

    return [min(math.dist(position(i), position(j)) for j in hidden) for i in context]


@pytest.mark.parametrize("grid", [(3, 5, 4), (1, 7, 6), (6, 2, 3)])
@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.8])
def test_distances_equal_a_loop(grid: tuple[int, int, int], ratio: float) -> None:
    generator = torch.Generator().manual_seed(0)
    context, hidden = sample_random_masks(grid, 3, ratio, generator, tube=False)
    found = distance_to_hidden(context, hidden, grid)
    for row in range(3):
        expected = by_loops(context[row].tolist(), hidden[row].tolist(), grid)
        torch.testing.assert_close(found[row], torch.tensor(expected))


def test_tokens_in_neither_mask_are_ignored() -> None:
    grid = (2, 8, 8)
    [(context, hidden)] = sample_masks(grid, 6, VJEPA2_MASKS[:1], torch.Generator().manual_seed(3))
    assert context.shape[1] + hidden.shape[1] < 128
    found = distance_to_hidden(context, hidden, grid)
    for row in range(6):
        expected = by_loops(context[row].tolist(), hidden[row].tolist(), grid)
        torch.testing.assert_close(found[row], torch.tensor(expected))
    assert float(found.min()) == 1


def test_the_distance_is_infinite_if_nothing_is_hidden() -> None:
    found = distance_to_hidden(torch.tensor([[0, 3]]), torch.empty(1, 0, dtype=torch.int64), (1, 2, 2))
    assert found.tolist() == [[math.inf, math.inf]]
