"""Architectures that cannot be built are refused in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vjepa_world.config import compose
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import (
    ActionPredictorConfig,
    EncoderConfig,
    MaskedPredictorConfig,
    WorldModelConfig,
)
from vjepa_world.pretrained.architectures import ARCHITECTURES, Architecture
from vjepa_world.verbs import pretrain


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: EncoderConfig(image_size=100),
            "image_size 100 is not a multiple of patch_size 16; change either",
        ),
        (
            lambda: EncoderConfig(num_frames=7),
            "num_frames 7 is not a multiple of tubelet_size 2; change either",
        ),
        (lambda: EncoderConfig(patch_size=0), "patch_size is 0; it must be more than 0"),
        (lambda: EncoderConfig(depth=-1), "depth is -1; it must be more than 0"),
        (
            lambda: EncoderConfig(embed_dim=100, num_heads=3),
            "embed_dim 100 does not give 3 heads of an even width",
        ),
        (
            lambda: EncoderConfig(embed_dim=99, num_heads=3),
            "embed_dim 99 does not give 3 heads of an even width",
        ),
        (
            lambda: MaskedPredictorConfig(embed_dim=100),
            "embed_dim 100 does not give 3 heads of an even width",
        ),
        (lambda: ActionPredictorConfig(embed_dim=100, num_heads=3), "embed_dim 100 does not give 3 heads"),
        (lambda: ActionPredictorConfig(num_heads=0), "num_heads is 0; it must be more than 0"),
        (
            lambda: ActionPredictorConfig(context_frames=-1),
            "context_frames is -1; allowed: 0 .all frames. and 1",
        ),
        (
            lambda: WorldModelConfig(encoder_kind="pixel"),
            "encoder_kind 'pixel' is not known; allowed: vjepa, pixels",
        ),
        (
            lambda: WorldModelConfig(pool=3),
            "pool 3 does not divide the 8 tokens along a side; choose a divisor",
        ),
        (lambda: WorldModelConfig(pool=0), "pool 0 does not divide the 8 tokens"),
    ],
)
def test_what_cannot_be_built_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("known", ARCHITECTURES, ids=lambda known: known.name)
def test_each_size_of_the_family_is_a_model_group(known: Architecture) -> None:
    config = compose("pretrain", pretrain.Config, [f"model=vit_{known.name}", "data.path=."]).model
    assert (config.embed_dim, config.depth, config.num_heads) == (
        known.embed_dim,
        known.depth,
        known.num_heads,
    )
    assert round(config.embed_dim * config.mlp_ratio) == known.mlp_hidden
