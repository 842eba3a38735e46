"""The goal reader: which state of the robot a goal image shows, seen from where the robot is now.

Legend: B pairs of frames, N tokens per frame, V views, s tokens along a side of a view, D feature width, S state size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vjepa_world.errors import ConfigError, nearest
from vjepa_world.models.config import GoalReaderConfig
from vjepa_world.models.embodiment import NumbersLinear

#: Channels of a token that the map to the state sees.
_READ_CHANNELS = 32
#: Width of that map.
_HIDDEN = 256
_GROUPS = 8


class GoalReader(nn.Module):
    r"""A small convolutional network from two frames to the change of the state, :math:`s_g - s_t = r(z_t, z_g, s_t)`.

    The frames are compared token by token, and what differs is mapped to the state with its place in the image. A
    camera is seen in both frames, so that its pose does not have to be known.

    Args:
        config: Sizes.
        width: D.
        grid: Rows s and columns V*s of a frame's tokens.
        state_sizes: State size S of every embodiment, by name.

    Raises:
        ConfigError: If `config.depth` is 0, which means: no goal reader.
    """

    def __init__(
        self, config: GoalReaderConfig, width: int, grid: tuple[int, int], state_sizes: Mapping[str, int]
    ) -> None:
        super().__init__()
        if not config.depth:
            raise ConfigError("a goal reader of depth 0 cannot be built; give a depth of at least 1.")
        self.width, self.grid, self.views = width, grid, grid[1] // grid[0]
        dim, side = config.embed_dim, grid[0]
        self.compare = nn.Conv2d(2 * width, dim, 1)
        self.states = nn.ModuleDict({name: NumbersLinear(size, dim) for name, size in state_sizes.items()})
        self.norms = nn.ModuleList([nn.GroupNorm(_GROUPS, dim) for _ in range(config.depth)])
        self.convolutions = nn.ModuleList([nn.Conv2d(dim, dim, 3, padding=1) for _ in range(config.depth)])
        self.reduce = nn.Conv2d(dim, _READ_CHANNELS, 1)
        self.hidden = nn.Sequential(
            nn.Linear(_READ_CHANNELS * side * side * self.views + dim, _HIDDEN),
            nn.GELU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.GELU(),
        )
        self.heads = nn.ModuleDict({name: NumbersLinear(_HIDDEN, size) for name, size in state_sizes.items()})

    def forward(self, now: Tensor, goal: Tensor, state: Tensor, embodiment: str) -> Tensor:
        """Return the change from the present state to the one that the goal shows.

        Args:
            now: Features of the present frame, `[B, N, D]`.
            goal: Features of the goal, `[B, N, D]`.
            state: Measured now, standardised, `[B, S]`.
            embodiment: Name of the robot.

        Returns:
            The change of the standardised state, `[B, S]`.

        Raises:
            ConfigError: If a size or the embodiment is not one this reader was built for.
        """
        self._check(now, goal, embodiment)
        weight = self.compare.weight
        embedded = self.states[embodiment](state.to(weight.dtype))
        x = self.compare(self._images(torch.cat([now, goal], dim=-1).to(weight.dtype)))
        x = x + embedded.repeat_interleave(self.views, dim=0)[:, :, None, None]
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = x + F.gelu(convolution(norm(x)))
        read = F.gelu(self.reduce(x).reshape(len(now), -1))
        change: Tensor = self.heads[embodiment](self.hidden(torch.cat([read, embedded], dim=1)))
        return change

    def _images(self, tokens: Tensor) -> Tensor:
        """Return tokens `[B, s*V*s, C]` as images of the views, `[B*V, C, s, s]`."""
        rows, columns = self.grid
        grids = tokens.unflatten(1, (rows, self.views, columns // self.views))
        return grids.permute(0, 2, 4, 1, 3).flatten(0, 1)

    def _check(self, now: Tensor, goal: Tensor, embodiment: str) -> None:
        if embodiment not in self.heads:
            raise ConfigError(
                f"embodiment '{embodiment}' has no goal reader; {nearest(embodiment, tuple(self.heads))}"
            )
        rows, columns = self.grid
        for features in (now, goal):
            if features.shape[1:] != (rows * columns, self.width):
                raise ConfigError(
                    f"got features of shape {list(features.shape)} for a goal reader of [B, {rows * columns}, "
                    f"{self.width}]; give both frames' features as the world model's encode_frames returns them."
                )
