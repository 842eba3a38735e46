"""Frames whose pixels say where a point is, and readers of them with known rank correlations.

Legend: M frames, N tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vjepa_world.evaluation.encoder.frames import GoalFrames

#: The mean of |d . v| over many directions d is proportional to |v|: the L1 distance of features is that of positions.
DIRECTIONS = torch.nn.functional.normalize(
    torch.randn(4096, 3, generator=torch.Generator().manual_seed(0)), dim=1
)


def point_frames(
    scene: int,
    *,
    moved: str = "arm",
    goal: str = "goal",
    count: int = 20,
    factors: Mapping[str, bool | str | float] | None = None,
) -> GoalFrames:
    """Return frames of 2 x 2 pixels whose first pixel is the position of a point within a ball."""
    generator = torch.Generator().manual_seed(scene)
    goal_at = torch.randint(100, 156, (3,), generator=generator)
    points = goal_at + torch.randint(-90, 91, (count, 3), generator=generator)
    frames = torch.zeros(count + 1, 3, 2, 2, dtype=torch.uint8)
    frames[1:, :, 0, 0], frames[0, :, 0, 0] = points.to(torch.uint8), goal_at.to(torch.uint8)
    return GoalFrames(
        scene=scene,
        goal=goal,
        moved=moved,
        within=0.25,
        unit="m",
        goal_views=(frames[0],),
        views=(frames[1:],),
        distances=(points - goal_at).double().norm(dim=1) / 1000,
        factors=factors or {},
    )


class PointReader:
    """Reads the true position, times `gain`, plus noise of a spread, as 4 tokens."""

    counts = (4,)

    def __init__(self, gain: float = 1.0, noise: float = 0.0, seed: int = 0) -> None:
        self.gain, self.noise = gain, noise
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, views: Sequence[Tensor]) -> list[Tensor]:
        points = views[0][:, :, 0, 0].float()
        points = self.gain * points + self.noise * torch.randn(points.shape, generator=self.generator)
        return [(points @ DIRECTIONS.T).unflatten(1, (4, -1))]


class FarFirst(PointReader):
    """Features that are the nearer to the goal's, the farther the frame is from it."""

    def __call__(self, views: Sequence[Tensor]) -> list[Tensor]:
        points = views[0][:, :, 0, 0].float()
        distance = (points - points[:1]).norm(dim=1)
        away = torch.where(distance > 0, 1000 - distance, 0)
        return [away[:, None, None].expand(-1, 4, 8) / math.sqrt(8)]
