"""The action-conditioned predictor: given what is seen and an action, the features of what will be seen.

Legend: B batch, T frames, N patch tokens a frame, D feature width, A action size, S state size, X extrinsics size;
M tokens a step in the order `[action, state, (extrinsics), patches]`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import ActionPredictorConfig
from vjepa_world.models.transformer import NORM_EPS, Block, KeyValues, init_weights, run_block
from vjepa_world.ops.rope import Rotation, grid_positions, rope_rotation


class StepCache:
    """What a predictor remembers of the steps it has seen: one pair of keys and values a layer."""

    def __init__(self, layers: list[KeyValues], steps: int) -> None:
        self.layers, self.steps = layers, steps


class ActionPredictor(nn.Module):
    """A frame-causal transformer over the tokens of each step.

    Actions and states are standardised with the training data's statistics, which are part of the weights:
    metres and radians of the order 0.05 would otherwise be lost beside unit-variance features.

    Attributes:
        recompute: Set it to trade time for memory in training.

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
        self.recompute = False
        dim = config.embed_dim
        self.predictor_embed = nn.Linear(feature_dim, dim)
        self.action_encoder = nn.Linear(action_dim, dim)
        self.state_encoder = nn.Linear(state_dim, dim)
        if config.extrinsics_dim:
            self.extrinsics_encoder = nn.Linear(config.extrinsics_dim, dim)
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

    @property
    def condition_tokens(self) -> int:
        """Tokens of a step that stand before its patches."""
        return 3 if self.config.use_extrinsics else 2

    def set_statistics(self, actions: Tensor, states: Tensor) -> None:
        """Standardise with the mean and spread of `actions [M, A]` and `states [M, S]`.

        An entry that hardly varies (less than 5 mm or 0.3 degrees: measurement noise) keeps its own scale.
        """
        for name, values in (("action", actions), ("state", states)):
            std = values.float().std(dim=0)
            getattr(self, f"{name}_mean").copy_(values.float().mean(dim=0))
            getattr(self, f"{name}_std").copy_(torch.where(std > 5e-3, std, 1.0))

    def forward(
        self, features: Tensor, actions: Tensor, states: Tensor, extrinsics: Tensor | None = None
    ) -> Tensor:
        """Predict each next frame's features from all frames up to it.

        Args:
            features: `[B, T*N, D]`.
            actions: Taken at each frame, `[B, T, A]`, in the data's units.
            states: Measured at each frame, `[B, T, S]`, in the data's units.
            extrinsics: Of the camera at each frame, `[B, T, X]`; needed with `config.use_extrinsics`.

        Returns:
            `[B, T*N, D]`: entry t is the prediction of frame t + 1.

        Raises:
            ConfigError: If extrinsics are needed and missing, or given and not used.
        """
        frames = actions.shape[1]
        if self.config.context_frames == 1 and frames > 1:  # steps that do not see each other are a batch
            parts = (features.unflatten(1, (frames, -1)), actions, states, extrinsics)
            apart = (None if part is None else _apart(part) for part in parts)
            return self(*apart).reshape(features.shape)
        x = self._tokens(features, actions, states, extrinsics).flatten(1, 2)
        rotation = self._rotation(0, frames, x.device)
        for block in self.predictor_blocks:
            x = run_block(block, x, rotation, frames, recompute=self.recompute)
        return self._predicted(features, x.unflatten(1, (frames, -1)))

    def step(
        self,
        features: Tensor,
        action: Tensor,
        state: Tensor,
        extrinsics: Tensor | None = None,
        cache: StepCache | None = None,
    ) -> tuple[Tensor, StepCache]:
        """Predict the frame after the newest one; earlier frames are remembered, not computed again.

        Args:
            features: Of the newest frame, `[B, N, D]`.
            action: Taken there, `[B, A]`.
            state: Measured there, `[B, S]`.
            extrinsics: `[B, X]` or None.
            cache: What the step before returned; None begins.

        Returns:
            `[B, N, D]`, as :meth:`forward` gives for this frame, and the cache for the next step; the one given stays
            valid.
        """
        seen = cache.steps if cache is not None and self.config.context_frames != 1 else 0
        camera = None if extrinsics is None else extrinsics.unsqueeze(1)
        x = self._tokens(features, action.unsqueeze(1), state.unsqueeze(1), camera).squeeze(1)
        rotation = self._rotation(seen, 1, x.device)
        layers = []
        for index, block in enumerate(self.predictor_blocks):
            assert isinstance(block, Block)
            x, memory = block.step(x, rotation, cache.layers[index] if cache is not None and seen else None)
            layers.append(memory)
        return self._predicted(features, x.unsqueeze(1)), StepCache(layers, seen + 1)

    def _tokens(self, features: Tensor, actions: Tensor, states: Tensor, extrinsics: Tensor | None) -> Tensor:
        """Return the embedded tokens by step, `[B, T, M, width]`."""
        if (extrinsics is not None) != self.config.use_extrinsics:
            need = "needs the camera's extrinsics" if extrinsics is None else "takes no extrinsics"
            raise ConfigError(f"this predictor {need}: use_extrinsics is {self.config.use_extrinsics}.")
        patches = self.predictor_embed(features).unflatten(1, (actions.shape[1], -1))
        action = self.action_encoder((actions - self.action_mean) / self.action_std)
        state = self.state_encoder((states - self.state_mean) / self.state_std)
        conditions = [action.unsqueeze(2), state.unsqueeze(2)]
        if extrinsics is not None:
            conditions.append(self.extrinsics_encoder(extrinsics).unsqueeze(2))
        return torch.cat([*conditions, patches], dim=2)

    def _rotation(self, first: int, steps: int, device: torch.device) -> Rotation:
        """Patches turn by time, row and column; condition tokens by time alone: their row and column are 0."""
        patches = grid_positions(steps, self.grid_size, self.grid_size, device).unflatten(0, (steps, -1))
        conditions = patches[:, :1].expand(-1, self.condition_tokens, -1)  # the patch at row 0, column 0
        positions = torch.cat([conditions, patches], dim=1).flatten(0, 1)
        positions = positions + positions.new_tensor([first, 0, 0])
        head_dim = self.config.embed_dim // self.config.num_heads
        return rope_rotation(positions, head_dim, self.config.positions)

    def comparable(self, predicted: Tensor) -> Tensor:
        """Return a prediction `[..., D]` as it is fed back and compared: LayerNormed where `config.normalize`."""
        return F.layer_norm(predicted, predicted.shape[-1:]) if self.config.normalize else predicted

    def _predicted(self, features: Tensor, x: Tensor) -> Tensor:
        """Map transformed tokens `[B, T, M, width]` to predictions of the shape of `features`."""
        patches = x[:, :, self.condition_tokens :].flatten(1, 2)
        change: Tensor = self.predictor_proj(self.predictor_norm(patches))
        return features + change if self.config.residual else change


def _apart(steps: Tensor) -> Tensor:
    """`[B, T, ...]` to `[B*T, 1, ...]`, patches of a step (a fourth axis) to `[B*T, N, D]`."""
    return steps.flatten(0, 1) if steps.ndim == 4 else steps.flatten(0, 1).unsqueeze(1)
