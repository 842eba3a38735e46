"""What an open loop measures, in words. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa_world.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OpenLoopConfig:
    """What is measured.

    Attributes:
        horizon: Steps that the model is rolled out, feeding itself.
        motion_share: How much of the weighted error is about tokens that move, from 0 to 1.
        samples: Random actions a window for the rank correlation.
        points: Grid points of a landscape along an axis, over the model's bounds.
        rollouts: Single steps imagined together; lower it where memory is short.
        pictures: Windows that are drawn: film strips and landscapes.
    """

    horizon: int = 8
    motion_share: float = 0.8
    samples: int = 64
    points: int = 17
    rollouts: int = 512
    pictures: int = 4

    def __post_init__(self) -> None:
        least = {"horizon": 1, "samples": 3, "points": 3, "rollouts": 1, "pictures": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ConfigError(f"open_loop.{name} is {getattr(self, name)}; it must be at least {lowest}.")
        if not 0 <= self.motion_share <= 1:
            raise ConfigError(f"open_loop.motion_share is {self.motion_share}; it is a share, from 0 to 1.")
