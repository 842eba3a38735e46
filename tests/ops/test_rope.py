"""3D rotary positions against rotation matrices written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vjepa_world.models.config import ROPE_CONVENTIONS
from vjepa_world.ops.rope import apply_rotary, axis_channels, grid_positions, rotary_table


def rotation_matrix(
    position: tuple[int, int, int], head_dim: int, channels_per_axis: int, convention: str
) -> Tensor:
    """Return the `[head_dim, head_dim]` block-diagonal matrix of one token, float64; the identity for other channels.

    Row c of an axis turns by position * 10000^(-2n / d). Interleaved: n = c // 2, so that each 2x2 block is a
    rotation. Tiled: n = c mod d/2, as the released V-JEPA 2 weights need it.
    """
    matrix = torch.eye(head_dim, dtype=torch.float64)
    for axis in range(3):
        for c in range(channels_per_axis):
            number = c // 2 if convention == "interleaved" else c % (channels_per_axis // 2)
            angle = position[axis] * 10000.0 ** (-2 * number / channels_per_axis)
            at = axis * channels_per_axis + c
            matrix[at, at] = math.cos(angle)
            matrix[at, at + 1 if c % 2 == 0 else at - 1] = math.sin(angle) * (-1 if c % 2 == 0 else 1)
    return matrix


@pytest.mark.parametrize(
    ("head_dim", "channels", "left"), [(64, 20, 4), (80, 26, 2), (32, 10, 2), (48, 16, 0)]
)
def test_axis_channels_are_those_of_vjepa2(head_dim: int, channels: int, left: int) -> None:
    assert axis_channels(head_dim) == channels
    assert head_dim - 3 * axis_channels(head_dim) == left


def test_grid_positions_count_time_slowest_and_columns_fastest() -> None:
    expected = [[t, h, w] for t in range(2) for h in range(3) for w in range(4)]
    assert grid_positions(2, 3, 4).tolist() == expected


def test_a_stretched_grid_spans_the_positions_of_the_trained_one() -> None:
    """V-JEPA 2.1: row h of H is at h (span - 1) / (H - 1); time is not stretched."""
    stretched = grid_positions(2, 3, 5, span=16).unflatten(0, (2, 3, 5))
    torch.testing.assert_close(stretched[0, :, 0, 1], torch.tensor([0.0, 7.5, 15.0]))
    torch.testing.assert_close(stretched[0, 0, :, 2], torch.tensor([0.0, 3.75, 7.5, 11.25, 15.0]))
    assert stretched[:, 0, 0, 0].tolist() == [0.0, 1.0]
    assert grid_positions(1, 1, 1, span=16).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("convention", ROPE_CONVENTIONS)
@pytest.mark.parametrize(("head_dim", "channels"), [(64, 20), (80, 26), (32, 10), (12, 4), (4, 0)])
def test_rotation_is_the_block_diagonal_matrix(head_dim: int, channels: int, convention: str) -> None:
    positions = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3], [7, 15, 11]])
    x = torch.randn(2, 3, len(positions), head_dim, generator=torch.Generator().manual_seed(0))
    rotated = apply_rotary(x, rotary_table(positions, head_dim, convention))
    for token, (t, h, w) in enumerate(positions.tolist()):
        expected = x[:, :, token].double() @ rotation_matrix((t, h, w), head_dim, channels, convention).T
        torch.testing.assert_close(rotated[:, :, token].double(), expected, atol=1e-5, rtol=0)


def test_positions_may_differ_within_a_batch() -> None:
    positions = torch.tensor([[[0, 1, 2], [3, 4, 5]], [[5, 0, 1], [2, 2, 2]]])
    x = torch.randn(2, 4, 2, 20, generator=torch.Generator().manual_seed(1))
    together = apply_rotary(x, rotary_table(positions, 20).unsqueeze(1))
    alone = torch.cat([apply_rotary(x[b : b + 1], rotary_table(positions[b], 20)) for b in range(2)])
    assert torch.equal(together, alone)


def test_scores_depend_on_differences_of_positions_only() -> None:
    generator = torch.Generator().manual_seed(2)
    positions = torch.randint(0, 8, (10, 3), generator=generator)
    q, k = torch.randn(2, 1, 2, 10, 64, generator=generator)

    def scores(shift: list[int]) -> Tensor:
        table = rotary_table(positions + torch.tensor(shift), 64, "interleaved")
        return apply_rotary(q, table) @ apply_rotary(k, table).transpose(-1, -2)

    here = scores([0, 0, 0])
    torch.testing.assert_close(scores([3, 5, 7]), here, atol=1e-4, rtol=0)
    for axis in range(3):  # moving the keys alone along any axis does change the scores
        moved = rotary_table(positions + 2 * torch.eye(3, dtype=torch.long)[axis], 64, "interleaved")
        other = apply_rotary(q, rotary_table(positions, 64, "interleaved")) @ apply_rotary(
            k, moved
        ).transpose(-1, -2)
        assert (other - here).abs().max() > 0.1


def test_rotation_keeps_lengths_and_the_dtype() -> None:
    x = torch.randn(1, 2, 6, 32, generator=torch.Generator().manual_seed(3))
    table = rotary_table(grid_positions(1, 2, 3), 32, "interleaved")
    torch.testing.assert_close(apply_rotary(x, table).norm(dim=-1), x.norm(dim=-1))
    half = apply_rotary(x.bfloat16(), table)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, apply_rotary(x.bfloat16().float(), table).bfloat16())
