"""Multi-block masks: what is hidden is blocks through all frames, what is seen is the rest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vjepa_world.ops.masking import (
    VJEPA2_MASKS,
    MaskSpec,
    gather_tokens,
    sample_masks,
    sample_pair_masks,
)

ONE_BLOCK = MaskSpec(num_blocks=1, scale=0.3)
HUGE = MaskSpec(num_blocks=4, scale=1.0)


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
def test_of_one_clip_the_context_is_the_complement_of_the_target(spec: MaskSpec) -> None:
    for seed in range(50):
        context, target = draw((3, 8, 6), 1, spec, seed)
        together = torch.cat([context, target], dim=1)[0]
        assert together.sort().values.tolist() == list(range(3 * 8 * 6))


@pytest.mark.parametrize("spec", [*VJEPA2_MASKS, HUGE])
def test_of_a_batch_they_are_disjoint_sorted_and_never_empty(spec: MaskSpec) -> None:
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
def test_blocks_go_through_all_frames(spec: MaskSpec) -> None:
    grid = (4, 8, 8)
    for context, target in zip(*draw(grid, 6, spec, 0), strict=True):
        for index in (context, target):
            frames = cells(index, grid)
            assert bool((frames == frames[0]).all())


def test_one_block_is_a_rectangle_of_the_asked_area_and_aspect() -> None:
    aspects = []
    for seed in range(200):
        _, target = draw((1, 40, 40), 1, ONE_BLOCK, seed)
        rows, columns = cells(target[0], (1, 40, 40))[0].nonzero().unbind(1)
        height, width = int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1)
        assert len(rows) == height * width
        assert height * width == pytest.approx(0.3 * 40 * 40, rel=0.05)
        aspects.append(height / width)
    assert 0.72 < min(aspects) < 0.82 < 1.35 < max(aspects) < 1.57


def test_the_size_is_drawn_once_a_batch_and_the_place_once_a_clip() -> None:
    grid, shapes, places = (1, 20, 20), set(), set()
    _, target = draw(grid, 16, ONE_BLOCK, 3)
    for index in target:
        rows, columns = cells(index, grid)[0].nonzero().unbind(1)
        shapes.add((int(rows.max() - rows.min()), int(columns.max() - columns.min())))
        places.add((int(rows.min()), int(columns.min())))
    assert len(shapes) == 1
    assert len(places) > 8
    assert {draw(grid, 1, ONE_BLOCK, seed)[1].shape[1] for seed in range(20)} != {target.shape[1]}


def test_places_reach_every_cell() -> None:
    hidden = torch.zeros(8, 8)
    for seed in range(40):
        for index in draw((1, 8, 8), 8, VJEPA2_MASKS[0], seed)[1]:
            hidden += cells(index, (1, 8, 8))[0]
    assert hidden.min() > 0


def test_a_batch_is_cut_to_its_smallest() -> None:
    """The smallest union sets the target's size, the largest the context's; what was cut off is in neither."""
    grid = (2, 16, 16)
    cut = False
    for seed in range(10):
        context, target = draw(grid, 12, VJEPA2_MASKS[0], seed)
        left_out = 16 * 16 - context.shape[1] // 2 - target.shape[1] // 2
        assert left_out >= 0
        cut = cut or left_out > 0
    assert cut


def test_each_family_gets_its_pair() -> None:
    (short_context, short), (long_context, long) = sample_masks(
        (2, 8, 8), 4, VJEPA2_MASKS, torch.Generator().manual_seed(0)
    )
    assert short_context.shape[0] == short.shape[0] == long_context.shape[0] == long.shape[0] == 4
    assert short.shape != long.shape
    assert {t.dtype for t in (short_context, short, long_context, long)} == {torch.int64}


def test_masks_are_a_function_of_the_generator_alone() -> None:
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


def test_of_a_pair_the_first_frame_and_a_few_of_the_seconds_tokens_are_seen() -> None:
    context, hidden = sample_pair_masks(20, 6, 0.15, torch.Generator().manual_seed(0))
    assert (context.shape, hidden.shape) == ((6, 23), (6, 17))
    for row in range(6):
        assert context[row, :20].tolist() == list(range(20))
        few = (context[row, 20:] - 20).tolist()
        assert sorted(few + hidden[row].tolist()) == list(range(20))
    assert len({tuple(row.tolist()) for row in hidden}) > 1
    for visible, seen in ((0.001, 1), (0.999, 19)):  # never none, never all
        assert sample_pair_masks(20, 2, visible, torch.Generator())[0].shape[1] == 20 + seen
