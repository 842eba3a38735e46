"""The windows of a forward pass, all tensors on the training device; a batch may be split into several.

Legend: B windows, T frames, N0 frozen tokens per frame, N tokens as the predictor sees them, D width, A action size,
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
class MicroBatch:
    """Windows of one robot.

    Attributes:
        embodiment: Name of the robot.
        frozen: The frozen encoder's features, `[B, T, N0, D]`.
        features: The tokens that the predictor sees, `[B, T, N, D]`.
        actions: `[B, T-1, A]`.
        states: `[B, T, S]`.
        extrinsics: `[B, T, 6]`, or None.
        images: Small images for the decoder, uint8 `[B, T, 3, s, V*s]`, or None.
        teacher_forced_weights: Weight of each token in the loss of teacher forcing, `[B, T-1, N]`.
        rollout_weights: In the loss of the rollout, `[B, K, N]`; `[B, 0, N]` without one.
        reconstruction_weights: In the loss of the learned tokens, `[B, T, N0]`.
        later_frame: Second frame of the inverse model, int64 `[B]`.
        decoded_frame: The frame that is decoded, int64 `[B]`.
        episodes: Index of each window's episode in its dataset, int64 `[B]`.
    """

    embodiment: str
    frozen: Tensor
    features: Tensor
    actions: Tensor
    states: Tensor
    extrinsics: Tensor | None
    images: Tensor | None
    teacher_forced_weights: Tensor
    rollout_weights: Tensor
    reconstruction_weights: Tensor
    later_frame: Tensor
    decoded_frame: Tensor
    episodes: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, rows: slice) -> Self:
        """Return some of the windows."""
        values: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        cut: dict[str, Any] = {name: v[rows] if isinstance(v, Tensor) else v for name, v in values.items()}
        return type(self)(**cut)

    @property
    def rollout(self) -> int:
        """Steps of the rollout, K; 1 without one."""
        return max(self.rollout_weights.shape[1], 1)


def _weights(change: Tensor, share: float) -> Tensor:
    """Return weights by how much tokens change, `[...]` -> `[...]`; their mean over all processes is 1."""
    if not change.numel():
        return change
    return motion_weights(change, share, all_mean(change.mean()))


def token_weights(frozen: Tensor, features: Tensor, rollout: int, share: float) -> dict[str, Tensor]:
    """Return the three weights of a :class:`MicroBatch`: a token's change is counted from the prediction's first frame.

    Args:
        frozen: The frozen encoder's features, `[B, T, N0, D]`.
        features: The tokens that the predictor sees, `[B, T, N, D]`.
        rollout: Steps of the rollout, K; 1 for none.
        share: See `objective.motion_share`.
    """
    steps = rollout if rollout > 1 else 0
    return {
        "teacher_forced_weights": _weights(token_change(features[:, :-1], features[:, 1:]), share),
        "rollout_weights": _weights(token_change(features[:, :1], features[:, 1 : steps + 1]), share),
        "reconstruction_weights": _weights(token_change(frozen[:, :1], frozen), share),
    }


def on_device(parts: dict[str, Tensor | None], device: torch.device) -> dict[str, Any]:
    """Return the tensors (any shapes) on the device; None stays None."""
    return {name: None if part is None else part.to(device) for name, part in parts.items()}
