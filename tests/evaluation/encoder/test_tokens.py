"""The tokens that encoders are scored with: those of the predictor of a world model with the same settings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.evaluation.encoder.tokens import EncoderTokens, LearnedTokens, reader_of
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.models.build import build_world_model
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.encoder import PixelEncoder, untrained_encoder
from vjepa_world.models.world_model import LatentWorldModel

SMALL = EncoderConfig(image_size=32, patch_size=8, num_frames=2, embed_dim=24, depth=1, num_heads=2)


def model(side: int, *, views: int = 1, kind: str = "pool", encoder_kind: str = "vjepa") -> LatentWorldModel:
    config = WorldModelConfig(
        encoder=SMALL,
        encoder_kind=encoder_kind,
        predictor=ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2),
        latents=LatentsConfig(kind=kind, side=side, embed_dim=24),  # type: ignore[arg-type]
        views=views,
        inverse=InverseConfig(horizon=0),
        decoder=DecoderConfig(image_size=0),
    )
    return build_world_model(config, seed=0)


def pictures(views: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randint(0, 256, (3, 3, 40, 40), generator=generator, dtype=torch.uint8) for _ in range(views)
    ]


@pytest.mark.parametrize("encoder_kind", ["vjepa", "pixels"])
@pytest.mark.parametrize("views", [1, 2])
def test_tokens_are_those_that_a_predictor_sees(views: int, encoder_kind: str) -> None:
    seen = pictures(views)
    for side in (1, 2, 4):
        world = model(side, views=views, encoder_kind=encoder_kind)
        expected = world.encode_goal(torch.cat(seen, dim=-1))
        (found,) = EncoderTokens(world.encoder, [side**2])(seen)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_several_sizes_come_from_one_call() -> None:
    reader = EncoderTokens(untrained_encoder(SMALL, 0), [1, 4, 16])
    assert reader.counts == (1, 4, 16)
    assert [tuple(tokens.shape) for tokens in reader(pictures(1))] == [(3, 1, 24), (3, 4, 24), (3, 16, 24)]


def test_a_number_that_does_not_divide_the_grid_is_replaced_by_the_next_larger_one() -> None:
    # 4 x 4 tokens: 9 becomes 16, as do 16 and all that is more.
    assert EncoderTokens(PixelEncoder(SMALL), [9, 16, 64]).counts == (16,)
    assert EncoderTokens(PixelEncoder(SMALL), [4, 9]).counts == (4, 16)
    fourteen = EncoderConfig(image_size=112, patch_size=8, embed_dim=24, depth=1, num_heads=2)
    assert EncoderTokens(PixelEncoder(fourteen), [16, 64]).counts == (49, 196)


@pytest.mark.parametrize("tokens", [0, 2, -4])
def test_tokens_that_form_no_square_are_refused(tokens: int) -> None:
    with pytest.raises(ConfigError, match=rf"tokens has {tokens}; give square numbers"):
        EncoderTokens(PixelEncoder(SMALL), [tokens])


def test_a_world_model_is_read_as_its_predictor_reads_it_first() -> None:
    world = model(2)
    reader = reader_of(world, [16], "cpu")
    assert reader.counts == (4, 16)
    torch.testing.assert_close(reader(pictures(1))[0], world.encode_goal(pictures(1)[0]))


def test_learned_tokens_are_read_from_the_world_model() -> None:
    world = model(2, kind="queries", views=2)
    reader = reader_of(world, [16], "cpu")
    assert isinstance(reader, LearnedTokens) and reader.counts == (4,)
    (found,) = reader(pictures(2))
    torch.testing.assert_close(
        found, world.encode_goal(torch.cat([view[..., :, :] for view in pictures(2)], dim=-1))
    )
    with pytest.raises(
        EvaluationError, match="learned tokens of the world model are of 2 cameras, and the frames of 1"
    ):
        reader(pictures(1))
