"""A frozen encoder and an action-conditioned predictor as one model that a planner can imagine with.

Legend: B problems, T frames, C channels, H W pixels, N tokens a frame, D width, S samples, K horizon,
A action size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import WorldModelConfig
from vjepa_world.models.encoder import PixelEncoder, VideoEncoder
from vjepa_world.ops.pixels import normalize_video, resize_frames
from vjepa_world.ops.pose import POSE_SIZE, apply_action


@dataclass(frozen=True)
class Context:
    """What a problem looks like now: `features [B, T, N, D]`, `states [B, T, S]`."""

    features: Tensor
    states: Tensor


class LatentWorldModel(nn.Module):
    """Encodes pictures and imagines, in features, where actions lead.

    Satisfies `planners.protocols.WorldModel`.
    """

    action_low: Tensor
    action_high: Tensor

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: VideoEncoder | PixelEncoder
        if config.encoder_kind == "pixels":
            self.encoder = PixelEncoder(config.encoder)
            width = self.encoder.width
        else:
            self.encoder = VideoEncoder(config.encoder)
            width = config.encoder.embed_dim
        grid = config.encoder.grid_size // config.pool
        self.predictor = ActionPredictor(config.predictor, width, grid, config.action_dim, config.state_dim)
        self.register_buffer("action_low", torch.full((config.action_dim,), -1.0))
        self.register_buffer("action_high", torch.full((config.action_dim,), 1.0))
        self.encoder.requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.action_low.device

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode each frame alone: `[M, C, H, W]` uint8 to `[M, N, D]`, LayerNormed and pooled.

        Source: V-JEPA 2-AC encodes a frame as an image, repeated over a tubelet.
        """
        frames = resize_frames(frames.to(self.device), self.config.encoder.image_size)
        features = self.encoder(normalize_video(frames).unsqueeze(1))
        if self.config.encoder_kind == "vjepa":
            features = F.layer_norm(features, features.shape[-1:])
        if self.config.pool == 1:
            return features
        side = self.config.encoder.grid_size
        maps = features.transpose(1, 2).unflatten(2, (side, side))
        return F.avg_pool2d(maps, self.config.pool).flatten(2).transpose(1, 2)

    @torch.no_grad()
    def encode(self, frames: Tensor, states: Tensor | None) -> Context:
        """Encode what is seen: `frames [B, T, C, H, W]` uint8, `states [B, T, S]`.

        Raises:
            CheckpointError: If the state size is not the one this model was trained with.
        """
        if states is None or states.shape[-1] != self.config.state_dim:
            got = "none" if states is None else str(states.shape[-1])
            raise CheckpointError(
                f"this model was trained with states of size {self.config.state_dim}, got {got}; "
                "give the robot's state in the training data's order, or fine-tune on data of this robot."
            )
        features = self.encode_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return Context(features.float(), states.to(self.device).float())

    @torch.no_grad()
    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: `[B, C, H, W]` uint8 to `[B, N, D]`."""
        return self.encode_frames(frames).float()

    @torch.no_grad()
    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Imagine where actions lead from the last frame of the context.

        Args:
            context: B problems. Only the last frame is used.
            actions: `[B, S, K, A]`.

        Returns:
            Imagined features after each action, `[B, S, K, N, D]`.

        Raises:
            ConfigError: If several steps are asked for and no rule says how an action changes the state.
        """
        batch, samples, horizon, _ = actions.shape
        flat = actions.flatten(0, 1)
        seen = self.config.predictor.context_frames or horizon
        features = context.features[:, -1:].repeat_interleave(samples, dim=0)
        states = context.states[:, -1:].repeat_interleave(samples, dim=0)
        for step in range(horizon):
            past = slice(max(step + 1 - seen, 0), step + 1)
            predicted = self.predictor(features[:, past].flatten(1, 2), flat[:, past], states[:, past])
            newest = predicted.unflatten(1, (past.stop - past.start, -1))[:, -1:]
            features = torch.cat([features, self.predictor.comparable(newest)], dim=1)
            if step + 1 < horizon:
                wrap = self.config.predictor.wrap_angles
                following = advance_state(states[:, -1:], flat[:, step : step + 1], wrap=wrap)
                states = torch.cat([states, following], dim=1)
        return features[:, 1:].unflatten(0, (batch, samples))


def advance_state(state: Tensor, action: Tensor, *, wrap: bool = False) -> Tensor:
    """Return the state that an action leads to: pose composition for 7 and 7, addition for other equal sizes.

    Args:
        state: `[..., S]`.
        action: `[..., A]`.
        wrap: Keep the angles of poses in [-pi, pi].

    Raises:
        ConfigError: If the sizes differ, since then only the data knows how an action changes the state.
    """
    if state.shape[-1] == POSE_SIZE and action.shape[-1] == POSE_SIZE:
        return apply_action(state, action, wrap=wrap)
    if state.shape[-1] == action.shape[-1]:
        return state + action
    raise ConfigError(
        f"states of size {state.shape[-1]} cannot be advanced by actions of size {action.shape[-1]}; "
        "imagining several steps needs equal sizes (or poses and pose deltas of size 7)."
    )
