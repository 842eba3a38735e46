"""Architectures that cannot be built are refused with a message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vjepa_world.cli import pretrain
from vjepa_world.config import compose
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EmbodimentConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    MaskedPredictorConfig,
    WorldModelConfig,
)
from vjepa_world.pretrained.architectures import ARCHITECTURES, Architecture


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
            lambda: WorldModelConfig(latents=LatentsConfig(side=3)),
            "latents.side 3 does not divide the 8 tokens along a side; choose a divisor",
        ),
        (
            lambda: WorldModelConfig(latents=LatentsConfig(side=16)),
            "latents.side 16 does not divide the 8 tokens",
        ),
        (
            lambda: WorldModelConfig(latents=LatentsConfig(kind="queries", side=9)),
            "latents.side 9 is more than the 8 tokens along a side; choose fewer queries",
        ),
        (lambda: LatentsConfig(side=0), "side is 0; it must be more than 0"),
        (lambda: LatentsConfig(kind="pooled"), "kind 'pooled' of latents is not known; did you mean 'pool'"),  # type: ignore[arg-type]
        (lambda: LatentsConfig(embed_dim=30, num_heads=3), "embed_dim 30 of latents is not a multiple of 4"),
        (lambda: WorldModelConfig(views=0), "views is 0; it must be more than 0"),
        (lambda: WorldModelConfig(embodiments=()), "embodiments are ..; at least one is needed"),
        (
            lambda: WorldModelConfig(embodiments=(EmbodimentConfig(), EmbodimentConfig())),
            "embodiments are .'default', 'default'.; at least one is needed, and each name once",
        ),
        (lambda: EmbodimentConfig(name="my.arm"), "'my.arm' cannot name an embodiment; allowed: letters"),
        (lambda: EmbodimentConfig(action_dim=0), "action_dim is 0; it must be more than 0"),
        (lambda: InverseConfig(horizon=-1), "horizon is -1; it must be at least 0"),
        (lambda: DecoderConfig(image_size=-1), "image_size is -1; it must be at least 0"),
        (lambda: EncoderConfig(image_size=0), "image_size is 0; it must be more than 0"),
        (
            lambda: ActionPredictorConfig(condition="adaptive"),  # type: ignore[arg-type]
            "condition 'adaptive' is not known; did you mean 'adaln'",
        ),
    ],
)
def test_configurations_that_cannot_be_built_are_refused(build: Callable[[], object], message: str) -> None:
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
