"""Fewer tokens per frame: concatenated views, and learned queries with a trainable reconstruction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vjepa_world.models.config import LatentsConfig
from vjepa_world.models.latents import LearnedQueries, join_views, split_views

CONFIG = LatentsConfig(kind="queries", side=2, embed_dim=24, num_heads=2)
FROZEN, WIDTH = 4, 12


def queries(views: int = 1, depth: int = 1, seed: int = 0) -> LearnedQueries:
    torch.manual_seed(seed)
    config = LatentsConfig(kind="queries", side=2, embed_dim=24, num_heads=2, depth=depth)
    return LearnedQueries(config, WIDTH, FROZEN, views)


def frozen(frames: int = 5, views: int = 1, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames, FROZEN * FROZEN * views, WIDTH, generator=generator)


def test_views_are_concatenated_along_columns() -> None:
    """Two views of 2 x 3 tokens: row by row, the first view's columns and then the second's."""
    left = torch.tensor([[[0, 1, 2], [3, 4, 5]]]).reshape(1, 6, 1)
    both = torch.stack([left[0], left[0] + 10])
    joined = join_views(both, views=2, rows=2)
    assert joined[0, :, 0].tolist() == [0, 1, 2, 10, 11, 12, 3, 4, 5, 13, 14, 15]
    assert torch.equal(split_views(joined, views=2, rows=2), both)
    several = torch.randn(6, 8, 3)
    assert torch.equal(split_views(join_views(several, 3, 2), 3, 2), several)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("views", [1, 2])
def test_tokens_are_as_many_as_queries_and_layer_normed(views: int, depth: int) -> None:
    model, features = queries(views, depth), frozen(views=views)
    tokens = model(features)
    assert tokens.shape == (5, 4 * views, WIDTH)
    torch.testing.assert_close(tokens.mean(dim=-1), torch.zeros(5, 4 * views), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.std(dim=-1, correction=0), torch.ones(5, 4 * views), atol=2e-2, rtol=0)
    assert model.reconstruct(tokens).shape == features.shape


def test_queries_attend_to_one_view_each() -> None:
    model, features = queries(views=2), frozen(views=2)
    alone = queries(views=1)
    alone.load_state_dict(model.state_dict())
    views = split_views(features, 2, FROZEN)
    torch.testing.assert_close(split_views(model(features), 2, 2), alone(views), atol=1e-6, rtol=1e-5)
    back = model.reconstruct(model(features))
    torch.testing.assert_close(
        split_views(back, 2, FROZEN), alone.reconstruct(alone(views)), atol=1e-6, rtol=1e-5
    )


def test_queries_are_initialised_with_the_position_of_their_area() -> None:
    """Of all positions of the grid, those of its own quarter are nearest to it."""
    model = queries()
    positions = model.places[0].view(FROZEN, FROZEN, -1)
    for row in range(2):
        for column in range(2):
            distance = (positions - model.queries[0, 2 * row + column]).square().sum(dim=-1)
            quarter = torch.zeros(FROZEN, FROZEN, dtype=torch.bool)
            quarter[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = True
            assert distance[quarter].max() < distance[~quarter].min()


def test_the_reconstruction_learns_up_to_the_capacity_of_the_tokens() -> None:
    """Frames that differ in three numbers: four tokens can encode them, and do so after training."""
    generator = torch.Generator().manual_seed(2)
    basis = torch.randn(3, FROZEN * FROZEN, WIDTH, generator=generator)
    model = queries()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    errors = []
    for _ in range(220):
        mixture = torch.randn(32, 3, generator=generator)
        features = torch.einsum("mk,knd->mnd", mixture, basis)
        error = (model.reconstruct(model(features)) - features).square().mean() / features.square().mean()
        optimizer.zero_grad()
        error.backward()
        missing = [name for name, p in model.named_parameters() if p.grad is None]
        assert not missing
        optimizer.step()
        errors.append(error.item())
    assert errors[0] > 0.8
    assert sum(errors[-10:]) / 10 < 0.35 * errors[0]


def test_untrained_tokens_differ_between_frames() -> None:
    """Queries must not dominate the gathered features: a share of the tokens' variance is between frames."""
    tokens = queries()(frozen(64))
    assert tokens.var(dim=0).mean() / tokens.var() > 0.05
