"""How frames become the tokens that a predictor would see, for encoders, world models and controls.

Legend: M frames, V cameras, C channels, H W pixels, N tokens per frame, D feature width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from vjepa_world.errors import ConfigError, counted
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.models.encoder import PixelEncoder, VideoEncoder
from vjepa_world.models.encoders.registered import NoEncoder
from vjepa_world.models.frozen_tokens import image_tokens
from vjepa_world.models.latents import join_views, pool_tokens
from vjepa_world.models.world_model import LatentWorldModel

#: What tokens are read from.
Encoder = VideoEncoder | PixelEncoder | LatentWorldModel


class TokenReader(Protocol):
    """Turns frames into tokens, maybe in several sizes."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens of one camera's picture, for each size."""

    def __call__(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Return the tokens `[M, N, D]`, for each size, of frames as V cameras see them, uint8 `[M, C, H, W]` each."""


class EncoderTokens:
    """Reads an encoder's tokens as fine-tuning does with `latents.kind=pool`: LayerNormed, averaged over areas.

    Args:
        encoder: The encoder.
        tokens: Tokens of a picture, square numbers. One that does not divide the encoder's grid is replaced by the
            next larger one that does.
        device: Where the encoder is.

    Raises:
        ConfigError: If one is not a square number.
    """

    def __init__(
        self, encoder: VideoEncoder | PixelEncoder, tokens: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self.encoder, self.device = encoder, device
        grid = encoder.config.grid_size
        self.sides = tuple(dict.fromkeys(_side(count, grid) for count in tokens))

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens of one camera's picture, for each size."""
        return tuple(side**2 for side in self.sides)

    def __call__(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Return the tokens; see :class:`TokenReader`."""
        grids = torch.cat([image_tokens(self.encoder, view.to(self.device)) for view in views])
        frames = len(views[0])
        found = []
        for side in self.sides:
            pooled = pool_tokens(grids, side).unflatten(0, (len(views), frames)).transpose(0, 1)
            found.append(join_views(pooled.flatten(0, 1), len(views), side).float())
        return found


class LearnedTokens:
    """Reads the learned tokens of a world model (`latents.kind=queries`).

    Args:
        model: The world model.
    """

    def __init__(self, model: LatentWorldModel) -> None:
        self.model = model

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens of one camera's picture."""
        return (self.model.config.side**2,)

    def __call__(self, views: Sequence[Tensor]) -> list[Tensor]:
        """Return the tokens; see :class:`TokenReader`.

        Raises:
            EvaluationError: If the model sees another number of cameras.
        """
        if len(views) != self.model.config.views:
            raise EvaluationError(
                f"the learned tokens of the world model are of {counted(self.model.config.views, 'camera')}, and the "
                f"frames of {len(views)}; name as many: env.cameras, or data.cameras."
            )
        fitted = [self.model.preprocessing.fit(view) for view in views]
        return [self.model.encode_goal(torch.cat(fitted, dim=-1))]


def reader_of(
    encoder: Encoder | TokenReader, tokens: Sequence[int], device: torch.device | str
) -> TokenReader:
    """Return what reads an encoder's tokens; a reader is returned as it is.

    Of a world model the tokens that its predictor sees come first.
    """
    if isinstance(encoder, LatentWorldModel):
        if isinstance(encoder.encoder, NoEncoder) or encoder.latents is not None:
            return LearnedTokens(encoder)
        return EncoderTokens(encoder.encoder, [encoder.config.frozen_side**2, *tokens], device)
    if isinstance(encoder, VideoEncoder | PixelEncoder):
        return EncoderTokens(encoder, tokens, device)
    return encoder


def _side(tokens: int, grid: int) -> int:
    """Return the tokens along a side: the smallest divisor of the grid that gives at least so many tokens."""
    side = math.isqrt(max(tokens, 0))
    if side < 1 or side**2 != tokens:
        raise ConfigError(
            f"tokens has {tokens}; give square numbers, the tokens of one picture, such as tokens=[16,64]."
        )
    return next((divisor for divisor in range(side, grid) if grid % divisor == 0), grid)
