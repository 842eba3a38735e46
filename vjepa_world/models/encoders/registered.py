"""Frozen encoders of others under a name: registered ones, backbones of transformers, functions of users, controls.

Legend: B clips, T frames, C = 3 channels, S pixels, N tokens in the order (time, row, column), D width.

```python
@register_encoder("mine")
class MyEncoder(nn.Module):
    image_size, num_frames = 224, 1

    def forward(self, video: Tensor) -> Tensor: ...  # [B, T, 3, S, S] -> [B, N, D]
```
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NoReturn, Protocol, TypeVar

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError, nearest
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import PixelEncoder, VideoEncoder
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.models.encoders.user_function import (
    errors_in_words,
    import_encoder,
    is_path_of_code,
    is_plugin,
)
from vjepa_world.registry import Registry

F = TypeVar("F", bound="Callable[..., nn.Module]")

#: Names of encoders, and what makes each; keyword arguments are stored in the checkpoints of world models.
ENCODERS: Registry[Callable[..., nn.Module]] = Registry("encoder", group="vjepa_world.encoders")
ENCODERS.add("transformers", "vjepa_world.models.encoders.transformers_backbone:TransformersBackbone")
ENCODERS.add("efficientnet_lite0", "vjepa_world.models.encoders.controls:EfficientNetLite0")
ENCODERS.add("xfeat", "vjepa_world.models.encoders.controls:XFeat")

#: Entries that cannot be made without arguments: they are selected by a checkpoint.
NEED_OPTIONS = ("transformers",)


class FrozenEncoder(Protocol):
    """A module with weights that turns video into features; of an image T = 1, and N is a square number.

    A module may also have an attribute `preprocessing` (:class:`Preprocessing`): how frames become its input. Without
    one, frames are resized to S x S, and ImageNet's mean and standard deviation are those of its input.

    Attributes:
        image_size: S, height and width of its input [pixels].
        num_frames: T of its clips; 1 for an image encoder, which is called with single frames only.
    """

    image_size: int
    num_frames: int

    def __call__(self, video: Tensor) -> Tensor:
        """Return features `[B, N, D]` of video `[B, T, 3, S, S]`, float, normalised; T is 1 or num_frames."""
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
        name: The name it is registered under; or `module:function` of a module that VJEPA_WORLD_PLUGINS names.
        config: Its sizes, where they are known; None measures them on a black image and a black clip.
        options: Keyword arguments of what is registered.

    Raises:
        ConfigError: If there is no such encoder, or it does not return features of the expected shape.
    """

    def __init__(
        self, name: str, config: EncoderConfig | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        nn.Module.__init__(self)
        self.name, self.options, self.recompute = name, dict(options or {}), False
        factory = _factory(name)
        _check_options(name, factory, self.options)
        # Models are loaded into modules without memory; others' modules may need theirs, and may draw new weights.
        with torch.device("cpu"), torch.random.fork_rng(devices=[]):
            self.module = self._made(factory)
        if not isinstance(self.module, nn.Module) or next(self.module.parameters(), None) is None:
            raise ConfigError(
                f"the encoder '{name}' is not a module with weights; register a torch.nn.Module."
            )
        self.requires_grad_(False).eval()
        self._preprocessing = self._declared_preprocessing()
        self.config = self._measured() if config is None else config

    def _made(self, factory: Callable[..., nn.Module]) -> nn.Module:
        if not is_path_of_code(self.name):
            return factory(**self.options)
        with errors_in_words(self.name, "when it was made"):
            return factory(**self.options)

    def _called(self, video: Tensor) -> Tensor:
        """Return what the module returns for video `[B, T, 3, S, S]`."""
        if not is_path_of_code(self.name):
            return self.module(video)
        with errors_in_words(self.name, f"for video {list(video.shape)}"):
            return self.module(video)

    @property
    def preprocessing(self) -> Preprocessing:
        """How frames become its input."""
        return self._preprocessing

    def _declared_preprocessing(self) -> Preprocessing:
        size, frames = (getattr(self.module, key, None) for key in ("image_size", "num_frames"))
        if type(size) is not int or type(frames) is not int or size < 1 or frames < 1:
            raise ConfigError(
                f"the encoder '{self.name}' has image_size {size!r} and num_frames {frames!r}; both are whole numbers "
                "of at least 1."
            )
        declared = getattr(self.module, "preprocessing", None) or Preprocessing(size=size)
        if not isinstance(declared, Preprocessing) or declared.size != size:
            raise ConfigError(
                f"the encoder '{self.name}' has image_size {size} and the preprocessing {declared!r}; give a "
                "Preprocessing of that size, or none."
            )
        return declared

    @torch.no_grad()
    def _measured(self) -> EncoderConfig:
        """Return the sizes of its input and of its tokens."""
        size, frames = self.preprocessing.size, int(self.module.num_frames)  # type: ignore[arg-type]
        black = self.preprocessing.normalize(torch.zeros(1, frames, 3, size, size, dtype=torch.uint8))
        image, clip = (self._called(black[:, :count]) for count in (1, frames))
        side = math.isqrt(image.shape[1]) if isinstance(image, Tensor) and image.ndim == 3 else 0
        if not side or side**2 != image.shape[1] or side > size or clip.shape[1] % side**2:
            raise ConfigError(
                f"the encoder '{self.name}' returns {_shape(image)} for one image of {size} pixels and {_shape(clip)} "
                f"for {frames} frames; expected [1, N, D] with a square number N, one token for each patch of a square "
                "grid, and a multiple of N tokens for the clip."
            )
        tubelets = clip.shape[1] // side**2
        if frames % tubelets:
            raise ConfigError(
                f"the encoder '{self.name}' returns {tubelets} times the tokens of an image for {frames} frames; it "
                "must divide them."
            )
        if image.shape[2] % 2:
            raise ConfigError(
                f"the encoder '{self.name}' returns features of width D = {image.shape[2]}; allowed are even widths. "
                "Append a channel of zeros, torch.nn.functional.pad(features, (0, 1)), or leave one out."
            )
        return sizes_of_features(image.shape[1], image.shape[2], size // side, frames, frames // tubelets)

    def token_grid(self, video: Tensor) -> tuple[int, int, int]:
        """Return the token grid (t, h, w) of `video [B, T, C, S, S]`.

        Raises:
            ConfigError: If the frames have another size, or do not divide into tubelets.
        """
        frames, sizes, tubelet = video.shape[1], tuple(video.shape[-2:]), self.config.tubelet_size
        size = self.preprocessing.size
        if sizes != (size, size) or (frames != 1 and frames % tubelet):
            raise ConfigError(
                f"the encoder '{self.name}' got {frames} frames of {sizes[0]}x{sizes[1]} pixels; give one frame, or a "
                f"multiple of {tubelet}, of {size}x{size} pixels."
            )
        return max(frames // tubelet, 1), self.config.grid_size, self.config.grid_size

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return features `[B, N, D]` of `video [B, T, 3, S, S]`, float, normalised by `preprocessing`.

        An image encoder gets the frames one by one, and their tokens follow each other.

        Raises:
            ConfigError: If `visible` is given: only complete videos are encoded; if the video has another size; or if
                the features have another shape than before, or are not finite.
        """
        if visible is not None:
            self._refuse("features of a part of the tokens")
        grid, images = self.token_grid(video), self.config.num_frames == 1
        given = video.flatten(0, 1).unsqueeze(1) if images else video
        features = self._called(given)
        expected = [len(given), math.prod(grid) // (grid[0] if images else 1), self.config.embed_dim]
        if not isinstance(features, Tensor) or list(features.shape) != expected:
            raise ConfigError(
                f"the encoder '{self.name}' returned features {_shape(features)} of input {list(given.shape)}, and "
                f"{expected} are expected from its first call; the size of its features must not change."
            )
        if not features.isfinite().all():
            raise ConfigError(
                f"the encoder '{self.name}' returned features that are not finite; check its weights, its "
                "preprocessing and its precision."
            )
        return features.unflatten(0, video.shape[:2]).flatten(1, 2) if images else features

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


def description_of(encoder: VideoEncoder | PixelEncoder | NoEncoder) -> dict[str, Any]:
    """Return what the features of an encoder depend on besides its weights, as JSON has it."""
    if not isinstance(encoder, RegisteredEncoder):
        return asdict(encoder.config)
    return {
        **asdict(encoder.config),
        "name": encoder.name,
        "options": encoder.options,
        "preprocessing": asdict(encoder.preprocessing),
    }


def is_registered(name: str) -> bool:
    """Return whether `encoder=NAME` names a registered encoder, or code (`module:function`)."""
    return (name in ENCODERS and name not in NEED_OPTIONS) or is_path_of_code(name)


def register_path(name: str) -> None:
    """Import `module:function`, which the user named, and register it under this name."""
    if name not in ENCODERS:
        ENCODERS.add(name, import_encoder(name))


def _factory(name: str) -> Callable[..., nn.Module]:
    """Return what is registered under a name. A checkpoint may name code, which is imported if the user allows it."""
    if name not in ENCODERS and is_path_of_code(name):
        if not is_plugin(name):
            module = name.partition(":")[0]
            raise ConfigError(
                f"the encoder is the code '{name}', which is not imported because a checkpoint says so; if you trust "
                f"it, set VJEPA_WORLD_PLUGINS={module}."
            )
        register_path(name)
    if name not in ENCODERS:
        raise ConfigError(
            f"unknown encoder '{name}'; {nearest(name, ENCODERS)} Encoders are registered by plugins: name the "
            "module that registers it in VJEPA_WORLD_PLUGINS, or install the package that declares it in the entry "
            "point group vjepa_world.plugins."
        )
    return ENCODERS[name]


def _check_options(name: str, factory: Callable[..., nn.Module], options: Mapping[str, Any]) -> None:
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise ConfigError(
            f"the encoder '{name}' cannot be made with the options {sorted(options)} ({error}); the checkpoint is of "
            "another version of it, or broken."
        ) from error


class NoEncoder(nn.Module):
    """The encoder of a world model that was trained on features in memory; it refuses to encode."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.preprocessing = Preprocessing(size=config.image_size)

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
