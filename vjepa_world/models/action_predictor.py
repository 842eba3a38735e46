"""The action-conditioned predictor: given what is seen and an action, the features of what will be seen.

Legend: B batch, T frames, N patch tokens a frame, D feature width, A action size, S state size;
M = N + 2 tokens a step in the order `[action, state, patches]`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vjepa_world.models.config import ActionPredictorConfig
from vjepa_world.models.transformer import NORM_EPS, Block, init_weights
from vjepa_world.ops.rope import grid_positions, rope_rotation

CONDITION_TOKENS = 2


def frame_causal_mask(frames: int, tokens: int, device: torch.device | None = None) -> Tensor | None:
    """Return who may look at whom, `[T*M, T*M]` bool: all of one's own step and of the steps before it.

    None where nothing is hidden (one frame).
    """
    if frames == 1:
        return None
    step = torch.arange(frames, device=device).repeat_interleave(tokens)
    return step.unsqueeze(1) >= step.unsqueeze(0)


class ActionPredictor(nn.Module):
    """A frame-causal transformer over `[action, state, patches]` tokens.

    Actions and states are standardised with the training data's statistics, which are part of the weights:
    metres and radians of the order 0.05 would otherwise be lost beside unit-variance features.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3); the residual and the standardisation are additions.
    """

    action_mean: Tensor
    action_std: Tensor
    state_mean: Tensor
    state_std: Tensor

    def __init__(
        self, config: ActionPredictorConfig, feature_dim: int, grid_size: int, action_dim: int, state_dim: int
    ) -> None:
        super().__init__()
        self.config, self.grid_size = config, grid_size
        self.action_dim, self.state_dim = action_dim, state_dim
        dim = config.embed_dim
        self.predictor_embed = nn.Linear(feature_dim, dim)
        self.action_encoder = nn.Linear(action_dim, dim)
        self.state_encoder = nn.Linear(state_dim, dim)
        blocks = [Block(dim, config.num_heads, config.mlp_ratio) for _ in range(config.depth)]
        self.predictor_blocks = nn.ModuleList(blocks)
        self.predictor_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(dim, feature_dim)
        init_weights(self, self.predictor_blocks)
        for encoder in (self.action_encoder, self.state_encoder):
            nn.init.trunc_normal_(encoder.weight, std=encoder.in_features**-0.5)
        if config.residual:
            nn.init.zeros_(self.predictor_proj.weight)
        for name, size in (("action", action_dim), ("state", state_dim)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def set_statistics(self, actions: Tensor, states: Tensor) -> None:
        """Standardise with the mean and spread of `actions [M, A]` and `states [M, S]`.

        An entry that hardly varies (less than 5 mm or 0.3 degrees: measurement noise) keeps its own scale.
        """
        for name, values in (("action", actions), ("state", states)):
            std = values.float().std(dim=0)
            getattr(self, f"{name}_mean").copy_(values.float().mean(dim=0))
            getattr(self, f"{name}_std").copy_(torch.where(std > 5e-3, std, 1.0))

    def _rotation(self, frames: int, device: torch.device) -> Tensor:
        patches = grid_positions(frames, self.grid_size, self.grid_size, device).unflatten(0, (frames, -1))
        times = torch.zeros(frames, CONDITION_TOKENS, 3, dtype=torch.long, device=device)
        times[..., 0] = torch.arange(frames, device=device).unsqueeze(1)
        positions = torch.cat([times, patches], dim=1).flatten(0, 1)
        return rope_rotation(positions, self.config.embed_dim // self.config.num_heads)

    def forward(self, features: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Predict each next frame's features from all frames up to it.

        Args:
            features: `[B, T*N, D]`.
            actions: Taken at each frame, `[B, T, A]`, in the data's units.
            states: Measured at each frame, `[B, T, S]`, in the data's units.

        Returns:
            `[B, T*N, D]`: entry t is the prediction of frame t + 1.
        """
        if self.config.context_frames == 1 and actions.shape[1] > 1:
            # Steps that do not see each other are a batch.
            apart = self(
                features.reshape(-1, self.grid_size**2, features.shape[-1]), _apart(actions), _apart(states)
            )
            return apart.reshape(features.shape)
        frames = actions.shape[1]
        patches = self.predictor_embed(features).unflatten(1, (frames, -1))
        action = self.action_encoder((actions - self.action_mean) / self.action_std)
        state = self.state_encoder((states - self.state_mean) / self.state_std)
        x = torch.cat([action.unsqueeze(2), state.unsqueeze(2), patches], dim=2).flatten(1, 2)
        rotation = self._rotation(frames, x.device)
        mask = frame_causal_mask(frames, x.shape[1] // frames, x.device)
        for block in self.predictor_blocks:
            x = block(x, rotation, mask)
        x = x.unflatten(1, (frames, -1))[:, :, CONDITION_TOKENS:].flatten(1, 2)
        change = self.predictor_proj(self.predictor_norm(x))
        return features + change if self.config.residual else change


def _apart(steps: Tensor) -> Tensor:
    """`[B, T, K]` to `[B*T, 1, K]`."""
    return steps.reshape(-1, 1, steps.shape[-1])
