"""Random masks: fractions, tubes, and equal frequencies of tokens."""

from __future__ import annotations

import pytest
import torch

from vjepa_world.ops.masking.random import sample_random_masks


@pytest.mark.parametrize(
    ("grid", "ratio", "tube", "hidden"),
    [
        ((1, 14, 14), 0.75, True, 147),  # MAE: 49 of 196 are seen
        ((8, 14, 14), 0.9, True, 8 * 176),  # VideoMAE: 20 of 196 positions
        ((8, 14, 14), 0.9, False, 1411),
        ((2, 2, 2), 0.01, True, 2),  # never none
        ((2, 2, 2), 0.99, True, 6),  # never all
    ],
)
def test_masks_hide_the_requested_fraction(
    grid: tuple[int, int, int], ratio: float, tube: bool, hidden: int
) -> None:
    context, target = sample_random_masks(grid, 3, ratio, torch.Generator().manual_seed(0), tube=tube)
    assert target.shape == (3, hidden)
    for seen, unseen in zip(context.tolist(), target.tolist(), strict=True):
        assert sorted(seen + unseen) == list(range(grid[0] * grid[1] * grid[2]))
        assert seen == sorted(seen)
        assert unseen == sorted(unseen)
    assert not torch.equal(target[0], target[1])


@pytest.mark.parametrize("tube", [True, False])
def test_only_tubes_hide_the_same_positions_in_all_frames(tube: bool) -> None:
    _, hidden = sample_random_masks((4, 5, 5), 1, 0.6, torch.Generator().manual_seed(1), tube=tube)
    cells = torch.zeros(100, dtype=torch.bool)
    cells[hidden[0]] = True
    frames = cells.view(4, 25)
    assert bool((frames == frames[0]).all()) == tube


def test_every_pair_of_tokens_is_hidden_equally_often() -> None:
    """Of 6 tokens 3 are hidden: each in half of the clips, each pair in 3/6 * 2/5."""
    count = 6000
    _, hidden = sample_random_masks((1, 2, 3), count, 0.5, torch.Generator().manual_seed(2))
    chosen = torch.zeros(count, 6).scatter_(1, hidden, 1.0)
    together = chosen.T @ chosen / count
    expected = torch.full((6, 6), 0.2).fill_diagonal_(0.5)
    assert float((together - expected).abs().max()) < 4 * (0.5 * 0.5 / count) ** 0.5


def test_masks_depend_only_on_the_generator() -> None:
    before = torch.random.get_rng_state()
    one, two = (sample_random_masks((2, 4, 4), 3, 0.5, torch.Generator().manual_seed(4))[1] for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(torch.random.get_rng_state(), before)
