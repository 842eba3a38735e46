"""The goal reader: which state of the robot a goal image shows, seen from where the robot is now.

Legend: B pairs of frames, M frames, N tokens per frame, V views, s tokens along a side of a view, D feature width,
S state size, H width of what is kept of a frame.
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
#: Width of that map, H.
_HIDDEN = 256
_GROUPS = 8


class GoalReader(nn.Module):
    r"""A small convolutional network from two frames to the change of the state, :math:`s_g - s_t = r(z_t, z_g, s_t)`.

    Each frame is looked at alone, by the same convolutions, so that a frame takes part in many readings at the cost of
    one. What was seen in both is then mapped to the change. A camera is seen in both frames: its pose does not have to
    be known.

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
        dim, seen = config.embed_dim, _READ_CHANNELS * grid[0] * grid[1]
        self.embed = nn.Conv2d(width, dim, 1)
        self.view_embed = nn.Parameter(torch.zeros(self.views, dim, 1, 1))
        self.norms = nn.ModuleList([nn.GroupNorm(_GROUPS, dim) for _ in range(config.depth)])
        self.convolutions = nn.ModuleList([nn.Conv2d(dim, dim, 3, padding=1) for _ in range(config.depth)])
        self.reduce = nn.Conv2d(dim, _READ_CHANNELS, 1)
        self.as_now, self.as_goal = nn.Linear(seen, _HIDDEN), nn.Linear(seen, _HIDDEN)
        self.states = nn.ModuleDict(
            {name: NumbersLinear(size, _HIDDEN) for name, size in state_sizes.items()}
        )
        self.hidden = nn.Sequential(nn.GELU(), nn.Linear(_HIDDEN, _HIDDEN), nn.GELU())
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
        return self.change(self.look(now)[0], self.look(goal)[1], state, embodiment)

    def look(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is kept of frames `[M, N, D]`: as the present one, `[M, H]`, and as a goal, `[M, H]`."""
        rows, columns = self.grid
        if frames.shape[1:] != (rows * columns, self.width):
            raise ConfigError(
                f"got features of shape {list(frames.shape)} for a goal reader of [B, {rows * columns}, "
                f"{self.width}]; give both frames' features as the world model's encode_frames returns them."
            )
        x = self.embed(self._images(frames.to(self.embed.weight.dtype)))
        x = x + self.view_embed.repeat(len(frames), 1, 1, 1)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = x + F.gelu(convolution(norm(x)))
        seen = F.gelu(self.reduce(x).reshape(len(frames), -1))
        return self.as_now(seen), self.as_goal(seen)

    def change(self, now: Tensor, goal: Tensor, state: Tensor, embodiment: str) -> Tensor:
        """Return the change of the state as :meth:`forward` does, from what :meth:`look` kept of both frames."""
        if embodiment not in self.heads:
            raise ConfigError(
                f"embodiment '{embodiment}' has no goal reader; {nearest(embodiment, tuple(self.heads))}"
            )
        measured = self.states[embodiment](state.to(now.dtype))
        change: Tensor = self.heads[embodiment](self.hidden(now + goal + measured))
        return change

    def _images(self, tokens: Tensor) -> Tensor:
        """Return tokens `[M, s*V*s, C]` as images of the views, `[M*V, C, s, s]`."""
        rows, columns = self.grid
        grids = tokens.unflatten(1, (rows, self.views, columns // self.views))
        return grids.permute(0, 2, 4, 1, 3).flatten(0, 1)
