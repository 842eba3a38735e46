"""Frozen encoders of other packages: registered under a name, and used as `encoder=NAME` of finetune and probe.

Legend: B clips, T frames, C = 3 channels, S pixels, N tokens in the order (time, row, column), D width.

```python
@register_encoder("mine")
class MyEncoder(nn.Module):
    image_size, num_frames = 224, 1

    def forward(self, video: Tensor) -> Tensor: ...  # [B, T, 3, S, S] -> [B, N, D]
```
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError, nearest
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.registry import Registry

F = TypeVar("F", bound="Callable[[], nn.Module]")

ENCODERS: Registry[Callable[[], nn.Module]] = Registry("encoder", group="vjepa_world.encoders")


class FrozenEncoder(Protocol):
    """A module with weights that turns video into features; of an image T = 1, and N is a square number.

    Attributes:
        image_size: S, height and width of its input [pixels].
        num_frames: T of its clips; 1 for an image encoder.
    """

    image_size: int
    num_frames: int

    def __call__(self, video: Tensor) -> Tensor:
        """Return features `[B, N, D]` of video `[B, T, 3, S, S]`, float, ImageNet-normalised; T is 1 or num_frames."""
        ...


def register_encoder(name: str) -> Callable[[F], F]:
    """Return a decorator that registers a class, or a function, that returns a :class:`FrozenEncoder` with its weights.

    A world model stores these weights in its checkpoint, and calls the class again when it is loaded.

    Raises:
        RegistryError: If the name is taken.
    """
    return ENCODERS.register(name)


class RegisteredEncoder(VideoEncoder):
    """A registered encoder with the interface of :class:`VideoEncoder`; it has the features of its last layer only.

    Args:
        name: The name it is registered under.
        config: Its sizes, where they are known; None measures them on an empty image and an empty clip.

    Raises:
        ConfigError: If there is no such encoder, or it does not return features of the expected shape.
    """

    def __init__(self, name: str, config: EncoderConfig | None = None) -> None:
        nn.Module.__init__(self)
        if name not in ENCODERS:
            raise ConfigError(
                f"unknown encoder '{name}'; {nearest(name, ENCODERS)} Encoders are registered by plugins: name the "
                "module that registers it in VJEPA_WORLD_PLUGINS, or install the package that declares it in the entry "
                "point group vjepa_world.plugins."
            )
        self.name, self.recompute = name, False
        with torch.device(
            "cpu"
        ):  # models are loaded into modules without memory; others' modules may need theirs
            self.module = ENCODERS[name]()
        self.requires_grad_(False).eval()
        if not isinstance(self.module, nn.Module) or next(self.parameters(), None) is None:
            raise ConfigError(
                f"the encoder '{name}' is not a module with weights; register a torch.nn.Module."
            )
        self.config = self._measured() if config is None else config

    @torch.no_grad()
    def _measured(self) -> EncoderConfig:
        """Return the sizes of its input and of its tokens."""
        size, frames = (getattr(self.module, key, None) for key in ("image_size", "num_frames"))
        if not isinstance(size, int) or not isinstance(frames, int) or size < 1 or frames < 1:
            raise ConfigError(
                f"the encoder '{self.name}' has image_size {size!r} and num_frames {frames!r}; both are whole numbers "
                "of at least 1."
            )
        image, clip = (self.module(torch.zeros(1, count, 3, size, size)) for count in (1, frames))
        side = math.isqrt(image.shape[1]) if isinstance(image, Tensor) and image.ndim == 3 else 0
        if not side or side**2 != image.shape[1] or size % side or clip.shape[1] % side**2:
            raise ConfigError(
                f"the encoder '{self.name}' returns {_shape(image)} for one image of {size} pixels and {_shape(clip)} "
                f"for {frames} frames; expected [1, N, D] with a square number N whose root divides {size}, and a "
                "multiple of N tokens for the clip."
            )
        tubelets = clip.shape[1] // side**2
        if frames % tubelets:
            raise ConfigError(
                f"the encoder '{self.name}' returns {tubelets} times the tokens of an image for {frames} frames; it "
                "must divide them."
            )
        return sizes_of_features(image.shape[1], image.shape[2], size // side, frames, frames // tubelets)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return features `[B, N, D]` of `video [B, T, 3, S, S]`, float, ImageNet-normalised.

        Raises:
            ConfigError: If `visible` is given: only complete videos are encoded.
        """
        if visible is not None:
            self._refuse("features of a part of the tokens")
        features: Tensor = self.module(video)
        return features

    def features(
        self, video: Tensor, layers: Sequence[int], visible: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Raise ConfigError for any `video [B, T, 3, S, S]`: there are no features of inner layers."""
        self._refuse("features of inner layers")

    def levels(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Raise ConfigError for any `video [B, T, 3, S, S]`: there are no levels."""
        self._refuse("levels")

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigError(
            f"the registered encoder '{self.name}' has no {what}; call it for those of its last layer."
        )


class NoEncoder(nn.Module):
    """The encoder of a world model that was trained on features in memory; it refuses to encode."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, video: Tensor) -> Tensor:
        """Raise ConfigError for any `video [B, T, C, H, W]`."""
        raise ConfigError(
            "this world model was trained on features in memory and has no encoder; give features to "
            "encode_features and goal_features."
        )


def sizes_of_features(
    tokens: int, width: int, patch_size: int = 16, frames: int = 1, tubelet_size: int = 1
) -> EncoderConfig:
    """Return the sizes of features of another encoder as a configuration; its blocks and heads mean nothing.

    Args:
        tokens: Tokens of an image, N; a square number.
        width: D; an even number.
        patch_size: Pixels along a side of a token.
        frames: Frames of a clip.
        tubelet_size: Frames of a token.

    Raises:
        ConfigError: If the tokens form no square, or the width is odd.
    """
    side = math.isqrt(tokens)
    if side**2 != tokens or width % 2 or not side:
        raise ConfigError(
            f"features have {tokens} tokens of width {width}; expected a square number of tokens and an even width."
        )
    return EncoderConfig(
        image_size=side * patch_size,
        patch_size=patch_size,
        num_frames=frames,
        tubelet_size=tubelet_size,
        embed_dim=width,
        depth=1,
        num_heads=1,
    )


def _shape(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
