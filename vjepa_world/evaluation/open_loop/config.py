"""The options of an open-loop evaluation. This module does not import torch, so that help is fast."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa_world.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OpenLoopConfig:
    """What an open-loop evaluation measures.

    Attributes:
        horizon: Steps of a rollout from the first frame of each window.
        motion_share: Weight of moving tokens in the weighted error, from 0 (all tokens alike) to 1.
        samples: Random actions per window for the rank correlation, and random action sequences.
        sequence: Steps of the random action sequences that are compared with the true one; at most the horizon.
        points: Grid points of an energy landscape along one axis, over the model's bounds.
        rollouts: Single steps predicted in one batch; lower it if memory is short.
        pictures: Windows that the report shows as film strips and landscapes.
    """

    horizon: int = 8
    motion_share: float = 0.8
    samples: int = 64
    sequence: int = 4
    points: int = 17
    rollouts: int = 512
    pictures: int = 4

    def __post_init__(self) -> None:
        least = {"horizon": 1, "samples": 3, "sequence": 1, "points": 3, "rollouts": 1, "pictures": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ConfigError(f"open_loop.{name} is {getattr(self, name)}; it must be at least {lowest}.")
        if not 0 <= self.motion_share <= 1:
            raise ConfigError(f"open_loop.motion_share is {self.motion_share}; it is a share, from 0 to 1.")
