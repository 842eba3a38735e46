"""A plain implementation of V-JEPA 2-AC's training step with PyTorch's own layers, without optimisations: the baseline.

Every frame is repeated to a tubelet and all are encoded at once; the attention mask is a matrix of all pairs of tokens;
the rollout computes its first step again; the graph of the whole batch lives until the single backward pass.

Legend: B windows, T frames, N patches per frame, D feature width, A action size, S state size, n tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.bench.references.pretrain_step import PlainBlock, PlainEncoder
from vjepa_world.models.config import ActionPredictorConfig, EncoderConfig
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.system.device import in_precision

#: Names of the world model's weights, and their names here.
NAMES = {
    "patch_embed.proj": "embed",
    "predictor_embed": "embed",
    "predictor_proj": "proj",
    "predictor_norm": "norm",
    "predictor_blocks": "blocks",
    "action_encoder": "action",
    "state_encoder": "state",
    "attn.qkv": "qkv",
    "attn.proj": "proj",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
}


class PlainActionPredictor(nn.Module):
    """Predicts the features of each next frame from the frames, actions and states up to it.

    Attributes:
        mask: Whether a query attends to a key, bool `[T*M, T*M]`, with M = 2 + N tokens per frame.
        tokens: Position of each token in the grid, int64 `[T*M]`.
    """

    mask: Tensor
    tokens: Tensor

    def __init__(
        self,
        config: ActionPredictorConfig,
        feature_dim: int,
        grid_size: int,
        frames: int,
        action_dim: int,
        state_dim: int,
    ) -> None:
        super().__init__()
        dim, patches = config.embed_dim, grid_size**2
        self.grid = (frames, grid_size, grid_size)
        self.embed, self.proj = nn.Linear(feature_dim, dim), nn.Linear(dim, feature_dim)
        self.action, self.state = nn.Linear(action_dim, dim), nn.Linear(state_dim, dim)
        self.blocks = nn.ModuleList(
            PlainBlock(dim, config.num_heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        step = torch.arange(frames).repeat_interleave(2 + patches)
        self.register_buffer("mask", step[:, None] >= step[None, :])
        # Action and state tokens are rotated by time only, as the first patch of their frame.
        within = torch.cat([torch.zeros(2, dtype=torch.long), torch.arange(patches)])
        self.register_buffer("tokens", step * patches + within.repeat(frames))

    def forward(self, features: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Return the features of the next frames, `[B, T*N, D]`.

        Args:
            features: Features of the frames, `[B, T*N, D]`.
            actions: Actions at these frames, `[B, T, A]`.
            states: States at these frames, `[B, T, S]`.
        """
        batch, frames, _ = actions.shape
        patches = self.embed(features).unflatten(1, (frames, -1))
        conditions = [self.action(actions).unsqueeze(2), self.state(states).unsqueeze(2)]
        x = torch.cat([*conditions, patches], dim=2).flatten(1, 2)
        tokens = self.tokens[: x.shape[1]].expand(batch, -1)
        mask = self.mask[: x.shape[1], : x.shape[1]]
        for block in self.blocks:
            x = block(x, tokens, self.grid, mask)
        x = x.unflatten(1, (frames, -1))[:, :, 2:].flatten(1, 2)
        return self.proj(self.norm(x))


class PlainFinetuneStep:
    """Optimizer steps: frozen features, teacher forcing, a rollout of two steps, backward, AdamW; each call takes one.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3) and the objective of its released training.
    """

    def __init__(
        self,
        encoder: EncoderConfig,
        predictor: ActionPredictorConfig,
        *,
        frames: int,
        action_dim: int,
        state_dim: int,
        lr: float,
    ) -> None:
        self.encoder = PlainEncoder(encoder).requires_grad_(False)
        self.predictor = PlainActionPredictor(
            predictor, encoder.embed_dim, encoder.grid_size, frames - 1, action_dim, state_dim
        )
        self.patches = encoder.grid_size**2
        self.optimizer = torch.optim.AdamW(self.predictor.parameters(), lr=lr, weight_decay=0.04)

    def to(self, device: torch.device) -> PlainFinetuneStep:
        """Move everything to a device."""
        for module in (self.encoder, self.predictor):
            module.to(device)
        return self

    def copy_weights(self, model: LatentWorldModel) -> None:
        """Copy the weights of a world model of the same sizes, those of its selected embodiment."""
        prefix = f"embodiments.{model.embodiment}."
        for ours, theirs in ((self.encoder, model.encoder), (self.predictor, model.predictor)):
            weights = {
                plain_name(name, prefix): weight.detach() for name, weight in theirs.named_parameters()
            }
            with torch.no_grad():
                for name, parameter in ours.named_parameters():
                    parameter.copy_(weights[name])

    def __call__(self, frames: Tensor, actions: Tensor, states: Tensor, dtype: torch.dtype) -> float:
        """Train on `frames [B, T, C, H, W]` uint8, `actions [B, T-1, A]`, `states [B, T, S]`; return the loss."""
        with in_precision(frames.device, dtype):
            features = self._frozen(normalize_video(frames))
            teacher_forced, rollout = self._predictions(features, actions, states)
            loss = self._distance(teacher_forced, features) + self._distance(rollout, features)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def _frozen(self, frames: Tensor) -> Tensor:
        """Encode each frame separately, repeated to a tubelet: `[B, T*N, D]`, layer-normalised."""
        features = self.encoder(frames.flatten(0, 1).unsqueeze(1).repeat(1, 2, 1, 1, 1))
        features = features.unflatten(0, frames.shape[:2]).flatten(1, 2)
        return F.layer_norm(features, features.shape[-1:])

    def _predictions(self, features: Tensor, actions: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the teacher-forced predictions of frames 1..T-1, and the rollout predictions of frames 1 and 2."""
        n = self.patches
        teacher_forced = self._predict(features[:, :-n], actions, states[:, :-1])
        inputs = torch.cat([features[:, :n], teacher_forced[:, :n]], dim=1)
        second = self._predict(inputs, actions[:, :2], states[:, :2])[:, -n:]
        return teacher_forced, torch.cat([teacher_forced[:, :n], second], dim=1)

    def _predict(self, features: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        predicted = self.predictor(features, actions, states)
        return F.layer_norm(predicted, predicted.shape[-1:])

    def _distance(self, predicted: Tensor, features: Tensor) -> Tensor:
        n = self.patches
        return (predicted - features[:, n : n + predicted.shape[1]]).abs().mean()


def plain_name(name: str, prefix: str) -> str:
    """Return the name here of a weight of a world model; `prefix` is that of its embodiment's weights."""
    plain = name.removeprefix(prefix)
    for theirs, ours in NAMES.items():
        plain = plain.replace(theirs, ours)
    return plain
