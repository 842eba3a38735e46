"""The inverse model: which actions lead from one frame's features to another's.

Legend: B pairs of frames, N tokens per frame, D feature width, A action size, S state size, K horizon.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError, nearest
from vjepa_world.models.config import InverseConfig
from vjepa_world.models.embodiment import NumbersLinear
from vjepa_world.models.transformer import NORM_EPS, build_blocks, init_weights, run_block

MLP_RATIO = 4.0
INIT_STD = 0.02


class InverseHead(nn.Module):
    """The maps of one embodiment: from its state `[B, S]` to a token, and from a token to its actions."""

    def __init__(self, dim: int, horizon: int, action_dim: int, state_dim: int) -> None:
        super().__init__()
        self.horizon, self.state_dim = horizon, state_dim
        self.state_encoder = NumbersLinear(state_dim, dim)
        self.actions = nn.Linear(dim, horizon * action_dim)

    def read(self, token: Tensor) -> Tensor:
        """Map the output token `[B, width]` to standardised actions `[B, K, A]`."""
        return self.actions(token).unflatten(-1, (self.horizon, -1))


class InverseModel(nn.Module):
    r"""A small transformer from two frames to the actions between them, :math:`a_{t..t+k-1} = g(z_t, z_{t+k}, s_t, k)`.

    Its tokens are the patches of both frames and one for the state and the number of steps, from which the actions are
    computed. Planners start their search from these actions.

    Args:
        config: Sizes; `horizon` is the largest k.
        width: D.
        tokens: N.
        embodiments: Action and state size (A, S) of every embodiment, by name.

    Raises:
        ConfigError: If `config.horizon` is 0 (which means: no inverse model), or there is no embodiment.
    """

    def __init__(
        self, config: InverseConfig, width: int, tokens: int, embodiments: Mapping[str, tuple[int, int]]
    ) -> None:
        super().__init__()
        if config.horizon < 1 or not embodiments:
            raise ConfigError(
                f"an inverse model of horizon {config.horizon} for {len(embodiments)} embodiments cannot be built; "
                "give a horizon and an embodiment, or build none (horizon=0)."
            )
        self.config, self.width, self.tokens = config, width, tokens
        dim = config.embed_dim
        self.patch_embed = nn.Linear(width, dim)
        self.positions = nn.Parameter(torch.zeros(tokens, dim))
        self.frames = nn.Parameter(torch.zeros(2, dim))
        self.steps = nn.Embedding(config.horizon, dim)
        self.blocks = build_blocks(config.depth, dim, config.num_heads, MLP_RATIO)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.heads = nn.ModuleDict(
            {name: InverseHead(dim, config.horizon, *sizes) for name, sizes in embodiments.items()}
        )
        init_weights(self, self.blocks, INIT_STD)
        for table in (self.positions, self.frames, self.steps.weight):
            nn.init.trunc_normal_(table, std=INIT_STD)

    def forward(self, now: Tensor, then: Tensor, state: Tensor, steps: Tensor, embodiment: str) -> Tensor:
        """Return the actions that lead from one frame to another.

        Args:
            now: Features of the frame where the actions begin, `[B, N, D]`.
            then: Features of the frame after `steps` actions, the same shape.
            state: Measured at the first frame, standardised, `[B, S]`.
            steps: Actions between the frames, int64 `[B]`, from 1 to K.
            embodiment: Name of the robot.

        Returns:
            Standardised actions, `[B, K, A]`; only the first `steps` of the K are meaningful.

        Raises:
            ConfigError: If a size, the number of steps or the embodiment is not one this model was built for.
        """
        head = self._head(embodiment)
        self._check(now, then, state, steps, head.state_dim)
        now, then, state = (part.to(self.patch_embed.weight.dtype) for part in (now, then, state))
        patches = torch.stack([self.patch_embed(now), self.patch_embed(then)], dim=1)
        patches = patches + self.positions + self.frames.unsqueeze(1)
        readout = head.state_encoder(state) + self.steps(steps - 1)
        x = torch.cat([readout.unsqueeze(1), patches.flatten(1, 2)], dim=1)
        for block in self.blocks:
            x = run_block(block, x, None)
        return head.read(self.norm(x[:, 0]))

    def _head(self, embodiment: str) -> InverseHead:
        if embodiment not in self.heads:
            raise ConfigError(
                f"embodiment '{embodiment}' has no inverse model; {nearest(embodiment, tuple(self.heads))}"
            )
        head = self.heads[embodiment]
        assert isinstance(head, InverseHead)
        return head

    def _check(self, now: Tensor, then: Tensor, state: Tensor, steps: Tensor, state_dim: int) -> None:
        for features in (now, then):
            if features.shape[1:] != (self.tokens, self.width):
                raise ConfigError(
                    f"got features of shape {list(features.shape)} for an inverse model of [B, {self.tokens}, "
                    f"{self.width}]; give both frames' features as the world model's encode_frames returns them."
                )
        if state.shape[-1] != state_dim:
            raise ConfigError(
                f"got states of size {state.shape[-1]} for an inverse model of size {state_dim}; choose the "
                "embodiment that the states are from."
            )
        if steps.device.type != "cpu":  # looking at values would wait for the accelerator
            return
        least, most = int(steps.min()), int(steps.max())
        if least < 1 or most > self.config.horizon:
            raise ConfigError(
                f"got steps from {least} to {most} for an inverse model of horizon {self.config.horizon}; "
                f"allowed: 1 to {self.config.horizon}."
            )
