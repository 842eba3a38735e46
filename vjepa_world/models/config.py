"""Architectures in words: the typed configurations of the models. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from vjepa_world.errors import ConfigError

ENCODER_KINDS = ("vjepa", "pixels")


def _check_positive(config: EncoderConfig | MaskedPredictorConfig | ActionPredictorConfig) -> None:
    for item in fields(config):
        value = getattr(config, item.name)
        if not value > 0 and item.name not in ("residual", "context_frames"):
            raise ConfigError(f"{item.name} is {value}; it must be more than 0.")


def _check_heads(config: EncoderConfig | MaskedPredictorConfig | ActionPredictorConfig) -> None:
    if config.embed_dim % (2 * config.num_heads):
        raise ConfigError(
            f"embed_dim {config.embed_dim} does not give {config.num_heads} heads of an even width; change either."
        )


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Architecture of a video encoder.

    Attributes:
        image_size: Height and width of a frame [pixels].
        patch_size: Height and width of a patch [pixels].
        num_frames: Frames of a training clip.
        tubelet_size: Frames of a token.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over the width.
    """

    image_size: int = 128
    patch_size: int = 16
    num_frames: int = 16
    tubelet_size: int = 2
    embed_dim: int = 192
    depth: int = 6
    num_heads: int = 4
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        _check_positive(self)
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}; change either."
            )
        if self.num_frames % self.tubelet_size:
            raise ConfigError(
                f"num_frames {self.num_frames} is not a multiple of tubelet_size {self.tubelet_size}; change either."
            )
        _check_heads(self)

    @property
    def grid_size(self) -> int:
        """Tokens along one side of a frame."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class MaskedPredictorConfig:
    """Architecture of a masked predictor.

    Attributes:
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over the width.
    """

    embed_dim: int = 96
    depth: int = 4
    num_heads: int = 3
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        _check_positive(self)
        _check_heads(self)


@dataclass(frozen=True, kw_only=True)
class ActionPredictorConfig:
    """Architecture of an action-conditioned predictor.

    Attributes:
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over the width.
        residual: Predict the change of the features, zero at the start (V-JEPA 2-AC's weights have none).
        context_frames: 1: a prediction sees its own frame; 0: all frames up to it, as in V-JEPA 2-AC.
    """

    embed_dim: int = 192
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: float = 4.0
    residual: bool = True
    context_frames: int = 1

    def __post_init__(self) -> None:
        _check_positive(self)
        _check_heads(self)
        if self.context_frames not in (0, 1):
            # Stacked blocks would see further back than a window of two, and a rollout must see the same.
            raise ConfigError(f"context_frames is {self.context_frames}; allowed: 0 (all frames) and 1.")


@dataclass(frozen=True, kw_only=True)
class WorldModelConfig:
    """Architecture of a latent world model.

    Attributes:
        encoder: The frozen encoder.
        predictor: The action-conditioned predictor.
        encoder_kind: vjepa, or pixels for the raw-pixel control.
        pool: Tokens averaged along each side before the predictor; 1 keeps them all.
        action_dim: Size of an action.
        state_dim: Size of a state.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: ActionPredictorConfig = field(default_factory=ActionPredictorConfig)
    encoder_kind: str = "vjepa"
    pool: int = 2
    action_dim: int = 7
    state_dim: int = 7

    def __post_init__(self) -> None:
        if self.encoder_kind not in ENCODER_KINDS:
            raise ConfigError(
                f"encoder_kind '{self.encoder_kind}' is not known; allowed: {', '.join(ENCODER_KINDS)}."
            )
        if self.pool < 1 or self.encoder.grid_size % self.pool:
            raise ConfigError(
                f"pool {self.pool} does not divide the {self.encoder.grid_size} tokens along a side; choose a divisor."
            )
