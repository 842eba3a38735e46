"""The goal reader: shapes, independence of the batch, and that it learns where a goal is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import GoalReaderConfig
from vjepa_world.models.goal_reader import GoalReader

SIDE, WIDTH, VIEWS = 4, 6, 2
STATES = {"arm": 2, "cart": 3}


def reader() -> GoalReader:
    torch.manual_seed(0)
    return GoalReader(GoalReaderConfig(depth=2, embed_dim=16), WIDTH, (SIDE, VIEWS * SIDE), STATES)


def seen(position: Tensor, camera: Tensor) -> Tensor:
    """Features `[B, 32, 6]` of a blob at `position [B, 2]`, moved by the pose `[B, 2]` of the first camera's view."""
    cells = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).float()
    views = []
    for moved in (position + camera, position):
        away = (1.5 + moved).unsqueeze(1) - cells
        weight = torch.exp(-away.square().sum(dim=-1, keepdim=True) / 2)
        views.append(torch.cat([weight, weight * away], dim=-1).repeat(1, 1, 2).unflatten(1, (SIDE, SIDE)))
    return torch.cat(views, dim=2).flatten(1, 2)


def drawn(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    now, goal, camera = torch.rand(3, count, 2, generator=generator) - 0.5
    return now, goal, camera


def test_it_reads_a_goal_under_a_camera_whose_pose_it_is_not_told() -> None:
    model, generator = reader(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(250):
        now, goal, camera = drawn(64, generator)
        read = model(seen(now, camera), seen(goal, camera), now, "arm")
        loss = (read - (goal - now)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    now, goal, camera = drawn(200, generator)
    with torch.no_grad():
        error = (model(seen(now, camera), seen(goal, camera), now, "arm") - (goal - now)).abs().mean()
    assert error < 0.15 * (goal - now).abs().mean()


def test_an_entry_does_not_depend_on_the_batch_and_each_robot_has_its_state() -> None:
    model = reader().eval()
    now, goal, camera = drawn(3, torch.Generator().manual_seed(2))
    inputs = seen(now, camera), seen(goal, camera), torch.randn(3, 3)
    together = model(*inputs, "cart")
    assert together.shape == (3, 3)
    torch.testing.assert_close(model(*(part[1:2] for part in inputs), "cart"), together[1:2])


def test_views_are_read_apart() -> None:
    tokens = torch.arange(SIDE * VIEWS * SIDE).float()[None, :, None].expand(1, -1, WIDTH)
    first, second = reader()._images(tokens)
    assert first[0].tolist() == [[8 * row + column for column in range(4)] for row in range(4)]
    assert second[0].tolist() == [[8 * row + column for column in range(4, 8)] for row in range(4)]


def test_wrong_inputs_and_configurations_are_refused() -> None:
    model, features = reader(), torch.zeros(1, 32, WIDTH)
    with pytest.raises(ConfigError, match=r"shape \[1, 16, 6\] for a goal reader of \[B, 32, 6\]"):
        model(features[:, :16], features, torch.zeros(1, 2), "arm")
    with pytest.raises(ConfigError, match="embodiment 'leg' has no goal reader"):
        model(features, features, torch.zeros(1, 2), "leg")
    with pytest.raises(ConfigError, match="of depth 0 cannot be built"):
        GoalReader(GoalReaderConfig(), WIDTH, (SIDE, SIDE), STATES)
    with pytest.raises(ConfigError, match="embed_dim of a goal reader is 20; it must be a multiple of 8"):
        GoalReaderConfig(depth=1, embed_dim=20)
