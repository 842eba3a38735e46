"""A step's windows as they are trained on: all tensors on the device, and cut into slices where memory is short.

Legend: B windows, T frames, N0 frozen tokens a frame, N tokens as the predictor sees them, D width, A action size,
S state size, K steps of the rollout.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from vjepa_world.ops.token_error import motion_weights, token_change
from vjepa_world.training.engine.distributed import all_mean


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Windows of one robot.

    Attributes:
        embodiment: Which robot.
        frozen: The frozen encoder's features, `[B, T, N0, D]`.
        features: What the predictor sees of them, `[B, T, N, D]`.
        actions: `[B, T-1, A]`.
        states: `[B, T, S]`.
        extrinsics: `[B, T, 6]`, or None.
        pictures: uint8 `[B, T, 3, s, V*s]`, or None.
        teacher_forced_weights: How much each token counts in teacher forcing, `[B, T-1, N]`.
        rollout_weights: In the rollout, `[B, K, N]`; `[B, 0, N]` without one.
        reconstruction_weights: In reading the frozen features back, `[B, T, N0]`.
        later: To which frame the inverse model looks, int64 `[B]`.
        shown: Which frame is decoded, int64 `[B]`.
    """

    embodiment: str
    frozen: Tensor
    features: Tensor
    actions: Tensor
    states: Tensor
    extrinsics: Tensor | None
    pictures: Tensor | None
    teacher_forced_weights: Tensor
    rollout_weights: Tensor
    reconstruction_weights: Tensor
    later: Tensor
    shown: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, rows: slice) -> Self:
        """Return some of the windows."""
        values: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        cut: dict[str, Any] = {name: v[rows] if isinstance(v, Tensor) else v for name, v in values.items()}
        return type(self)(**cut)

    @property
    def rollout(self) -> int:
        """Steps of the rollout, K; 1 where there is none."""
        return max(self.rollout_weights.shape[1], 1)


def weights_of(change: Tensor, share: float) -> Tensor:
    """Weigh tokens by how far they move, `[...]` -> `[...]`; the mean weight over all processes is 1."""
    if not change.numel():
        return change
    return motion_weights(change, share, all_mean(change.mean()))


def token_weights(frozen: Tensor, features: Tensor, rollout: int, share: float) -> dict[str, Tensor]:
    """Return the three weights of a :class:`Piece`: each token's move is from where its prediction begins."""
    steps = rollout if rollout > 1 else 0
    return {
        "teacher_forced_weights": weights_of(token_change(features[:, :-1], features[:, 1:]), share),
        "rollout_weights": weights_of(token_change(features[:, :1], features[:, 1 : steps + 1]), share),
        "reconstruction_weights": weights_of(token_change(frozen[:, :1], frozen), share),
    }


def on_device(parts: dict[str, Tensor | None], device: torch.device) -> dict[str, Any]:
    """Return tensors on the device, and None where there are none."""
    return {name: None if part is None else part.to(device) for name, part in parts.items()}
