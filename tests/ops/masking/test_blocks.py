"""Multi-block masks: targets are blocks through all frames, contexts the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vjepa_world.ops.masking.blocks import (
    block_shape,
    gather_tokens,
    over_frames,
    random_order,
    sample_masks,
    sample_pair_masks,
)
from vjepa_world.ops.masking.spec import VJEPA2_MASKS, MaskSpec

ONE_BLOCK = MaskSpec(num_blocks=1, scale=0.3)
HUGE = MaskSpec(num_blocks=4, scale=0.99)


def draw(grid: tuple[int, int, int], batch: int, spec: MaskSpec, seed: int) -> tuple[Tensor, Tensor]:
    [pair] = sample_masks(grid, batch, [spec], torch.Generator().manual_seed(seed))
    return pair


def cells(index: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Return token indices `[n]` as a grid of bool `[T, H, W]`."""
    tokens = torch.zeros(grid[0] * grid[1] * grid[2], dtype=torch.bool)
    tokens[index] = True
    return tokens.view(grid)


def test_the_families_are_those_of_vjepa2() -> None:
    short, long = VJEPA2_MASKS
    assert (short.num_blocks, short.scale, long.num_blocks, long.scale) == (8, 0.15, 2, 0.7)
    assert {(spec.aspect_low, spec.aspect_high) for spec in VJEPA2_MASKS} == {(0.75, 1.5)}


@pytest.mark.parametrize("spec", [*VJEPA2_MASKS, ONE_BLOCK, HUGE])
def test_the_context_of_a_single_clip_is_the_complement_of_the_target(spec: MaskSpec) -> None:
    for seed in range(50):
        context, target = draw((3, 8, 6), 1, spec, seed)
        together = torch.cat([context, target], dim=1)[0]
        assert together.sort().values.tolist() == list(range(3 * 8 * 6))


@pytest.mark.parametrize("spec", [*VJEPA2_MASKS, HUGE])
def test_context_and_target_of_a_batch_are_disjoint_sorted_and_not_empty(spec: MaskSpec) -> None:
    for seed in range(300):
        context, target = draw((2, 4, 4), 5, spec, seed)
        assert context.shape[1] > 0
        assert target.shape[1] > 0
        for seen, hidden in zip(context.tolist(), target.tolist(), strict=True):
            assert not set(seen) & set(hidden)
            assert seen == sorted(set(seen))
            assert hidden == sorted(set(hidden))
            assert min(seen + hidden) >= 0 and max(seen + hidden) < 2 * 4 * 4


@pytest.mark.parametrize("spec", VJEPA2_MASKS)
def test_blocks_span_all_frames(spec: MaskSpec) -> None:
    grid = (4, 8, 8)
    for context, target in zip(*draw(grid, 6, spec, 0), strict=True):
        for index in (context, target):
            frames = cells(index, grid)
            assert bool((frames == frames[0]).all())


def test_a_block_is_a_rectangle_of_the_requested_area_and_aspect() -> None:
    aspects = []
    for seed in range(200):
        _, target = draw((1, 40, 40), 1, ONE_BLOCK, seed)
        rows, columns = cells(target[0], (1, 40, 40))[0].nonzero().unbind(1)
        height, width = int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)
        assert len(rows) == height * width
        assert height * width == pytest.approx(0.3 * 40 * 40, rel=0.05)
        aspects.append(height / width)
    assert 0.72 < min(aspects) < 0.82 < 1.35 < max(aspects) < 1.57


def test_aspects_are_uniform_between_their_ends() -> None:
    """Their mean is 1.125, and that of their logarithm's uniform distribution would be 1.082."""
    aspects = []
    for seed in range(1000):
        _, target = draw((1, 60, 60), 1, ONE_BLOCK, seed)
        rows, columns = target[0] // 60, target[0] % 60
        aspects.append(int(rows.max() - rows.min() + 1) / int(columns.max() - columns.min() + 1))
    assert sum(aspects) / 1000 == pytest.approx(1.125, abs=3 * (0.75**2 / 12 / 1000) ** 0.5)


@pytest.mark.parametrize(
    ("scale", "aspect", "expected"),
    [
        (0.15, 1.0, (6, 6)),  # 38 of 256 tokens
        (0.7, 0.75, (12, 15)),  # 179
        (0.7, 1.5, (16, 11)),  # sqrt(179 * 1.5) is 16.4, more than there are
        (0.001, 1.0, (1, 1)),
    ],
)
def test_the_shape_of_a_block_by_hand(scale: float, aspect: float, expected: tuple[int, int]) -> None:
    assert block_shape(scale, aspect, 16, 16) == expected


def test_a_frame_that_is_all_hidden_is_drawn_again() -> None:
    """Two tall blocks, 16x11, cover a frame where they lie at its two ends: a chance of 1 in 18 per clip.

    Otherwise whole columns are left of it. Such a clip would cut its batch's context to one position.
    """
    tall = MaskSpec(num_blocks=2, scale=0.7, aspect_low=1.5, aspect_high=1.5)
    covered = 0
    for seed in range(20):
        context, _ = draw((1, 16, 16), 24, tall, seed)
        assert context.shape[1] % 16 == 0
        covered += context.shape[1] == 16
    assert covered


def test_a_random_position_is_left_visible_where_blocks_would_hide_all() -> None:
    whole = MaskSpec(num_blocks=1, scale=0.99, aspect_low=1.0, aspect_high=1.0)
    positions: set[int] = set()
    for seed in range(20):
        context, target = draw((1, 4, 4), 8, whole, seed)
        assert (context.shape, target.shape) == ((8, 1), (8, 15))
        positions |= set(context.flatten().tolist())
    assert len(positions) == 16


def test_a_random_order_has_the_chosen_first_and_is_uniform() -> None:
    chosen = torch.tensor([[False, True, True, False, True]]).expand(6000, -1)
    order = random_order(chosen, torch.Generator().manual_seed(0))
    first, rest = order[:, :3], order[:, 3:]
    assert {tuple(sorted(row)) for row in first.tolist()} == {(1, 2, 4)}
    assert {tuple(sorted(row)) for row in rest.tolist()} == {(0, 3)}
    found = torch.unique(order, dim=0, return_counts=True)[1]
    assert len(found) == 6 * 2
    assert float((found - 500).square().sum() / 500) < 31.3  # chi-squared of 11 degrees, one in a thousand


def test_positions_repeat_in_every_frame() -> None:
    spread = over_frames(torch.tensor([[[5, 0]], [[3, 2]]]), (3, 2, 3))
    assert spread.tolist() == [[[0, 5, 6, 11, 12, 17]], [[2, 3, 8, 9, 14, 15]]]


def test_block_sizes_are_drawn_per_batch_and_positions_per_clip() -> None:
    grid, shapes, positions = (1, 20, 20), set(), set()
    _, target = draw(grid, 16, ONE_BLOCK, 3)
    for index in target:
        rows, columns = cells(index, grid)[0].nonzero().unbind(1)
        shapes.add((int(rows.max() - rows.min()), int(columns.max() - columns.min())))
        positions.add((int(rows.min()), int(columns.min())))
    assert len(shapes) == 1
    assert len(positions) > 8
    assert {draw(grid, 1, ONE_BLOCK, seed)[1].shape[1] for seed in range(20)} != {target.shape[1]}


def test_block_positions_reach_every_cell() -> None:
    hidden = torch.zeros(8, 8)
    for seed in range(40):
        for index in draw((1, 8, 8), 8, VJEPA2_MASKS[0], seed)[1]:
            hidden += cells(index, (1, 8, 8))[0]
    assert hidden.min() > 0


def test_masks_of_a_batch_are_cut_to_the_smallest() -> None:
    """The smallest union sets the target's size, the largest the context's; tokens that were cut off are in neither."""
    grid = (2, 16, 16)
    cut = False
    for seed in range(10):
        context, target = draw(grid, 12, VJEPA2_MASKS[0], seed)
        left_out = 16 * 16 - context.shape[1] // 2 - target.shape[1] // 2
        assert left_out >= 0
        cut = cut or left_out > 0
    assert cut


def test_each_family_has_a_context_and_a_target() -> None:
    (short_context, short), (long_context, long) = sample_masks(
        (2, 8, 8), 4, VJEPA2_MASKS, torch.Generator().manual_seed(0)
    )
    assert short_context.shape[0] == short.shape[0] == long_context.shape[0] == long.shape[0] == 4
    assert short.shape != long.shape
    assert {t.dtype for t in (short_context, short, long_context, long)} == {torch.int64}


def test_masks_depend_only_on_the_generator() -> None:
    before = torch.random.get_rng_state()
    first, second, other = (draw((2, 8, 8), 4, VJEPA2_MASKS[0], seed) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert first[1].shape != other[1].shape or not torch.equal(first[1], other[1])


def test_gather_tokens_picks_by_clip() -> None:
    tokens = torch.arange(2 * 4 * 3).view(2, 4, 3)
    picked = gather_tokens(tokens, torch.tensor([[3, 0], [1, 1]]))
    assert picked.tolist() == [[[9, 10, 11], [0, 1, 2]], [[15, 16, 17], [15, 16, 17]]]
    same = gather_tokens(tokens[:1].expand(2, -1, -1), torch.tensor([[3, 0], [1, 1]]))
    assert same.tolist() == [[[9, 10, 11], [0, 1, 2]], [[3, 4, 5], [3, 4, 5]]]


def test_gradients_go_back_to_the_tokens_that_were_picked() -> None:
    tokens = torch.zeros(2, 3, 2, requires_grad=True)
    picked = gather_tokens(tokens, torch.tensor([[2, 0], [1, 1]]))
    (picked * torch.tensor([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]])).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.tolist() == [[[3, 4], [0, 0], [1, 2]], [[0, 0], [12, 14], [0, 0]]]


def test_pair_masks_show_the_first_frame_and_a_few_tokens_of_the_second() -> None:
    context, hidden = sample_pair_masks(20, 6, 0.15, torch.Generator().manual_seed(0))
    assert (context.shape, hidden.shape) == ((6, 23), (6, 17))
    for row in range(6):
        assert context[row, :20].tolist() == list(range(20))
        few = (context[row, 20:] - 20).tolist()
        assert sorted(few + hidden[row].tolist()) == list(range(20))
    assert len({tuple(row.tolist()) for row in hidden}) > 1
    for visible, seen in ((0.001, 1), (0.999, 19)):  # never none, never all
        assert sample_pair_masks(20, 2, visible, torch.Generator())[0].shape[1] == 20 + seen
