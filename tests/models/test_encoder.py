"""The encoder against the slow reference; hidden tokens do not affect its output."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from tests.models import reference
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import PixelEncoder, VideoEncoder, untrained_encoder

TINY = EncoderConfig(
    image_size=24, patch_size=8, num_frames=4, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0
)
VISIBLE = [1, 2, 7, 9, 13, 17]


def tiny_encoder() -> VideoEncoder:
    encoder = VideoEncoder(TINY).eval().requires_grad_(False)
    reference.randomise(encoder, seed=0)
    return encoder


def random_video(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow(encoder: VideoEncoder, video: Tensor, visible: list[int] | None = None) -> Tensor:
    weights = reference.float64_weights(encoder)
    return reference.encode(weights, video, patch=8, tubelet=2, depth=2, heads=2, visible=visible)


@pytest.mark.parametrize("size", [(24, 24), (16, 32)])
def test_full_forward_equals_the_reference_transformer(size: tuple[int, int]) -> None:
    encoder, video = tiny_encoder(), random_video(2, 4, 3, *size)
    features = encoder(video).double()
    for clip in range(2):
        reference.assert_close(features[clip], slow(encoder, video[clip]))


def test_visible_tokens_attend_only_to_each_other_at_their_true_positions() -> None:
    encoder, video = tiny_encoder(), random_video(2, 4, 3, 24, 24)
    visible = torch.tensor([VISIBLE, [0, 3, 4, 10, 12, 16]])
    features = encoder(video, visible).double()
    for clip in range(2):
        expected = slow(encoder, video[clip], visible[clip].tolist())
        reference.assert_close(features[clip], expected)


def test_a_mask_of_all_tokens_in_any_order_equals_the_full_forward() -> None:
    encoder, video = tiny_encoder(), random_video(1, 4, 3, 24, 24)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0)).unsqueeze(0)
    reference.assert_close(encoder(video, order), encoder(video)[:, order[0]])


def test_a_hidden_patch_does_not_leak_into_the_context() -> None:
    encoder, video = tiny_encoder(), random_video(1, 4, 3, 24, 24)
    visible = torch.tensor([VISIBLE])
    features = encoder(video, visible)
    for token, (t, h, w) in enumerate(reference.grid(2, 3, 3)):
        changed = video.clone()
        changed[:, 2 * t : 2 * t + 2, :, 8 * h : 8 * h + 8, 8 * w : 8 * w + 8] += 10.0
        same = torch.equal(encoder(changed, visible), features)
        assert same == (token not in VISIBLE)


def test_a_single_frame_is_that_frame_repeated() -> None:
    encoder, video = tiny_encoder(), random_video(3, 1, 3, 24, 16)
    assert encoder.token_grid(video) == (1, 3, 2)
    reference.assert_close(encoder(video), encoder(video.repeat(1, 2, 1, 1, 1)))


def test_patches_are_those_of_a_convolution() -> None:
    encoder, video = tiny_encoder(), random_video(2, 4, 3, 16, 24)
    expected = encoder.patch_embed.proj(video.transpose(1, 2)).flatten(2).transpose(1, 2)
    reference.assert_close(encoder.patch_embed(video), expected)


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 24, 24), (4, 20, 24), (4, 24, 30)])
def test_a_video_that_does_not_divide_is_refused(frames: int, height: int, width: int) -> None:
    message = (
        f"video of {frames} frames of {height}x{width} pixels does not divide into tubelets of 2 frames "
        "and patches of 8 pixels; resize it, or give one frame or a multiple of 2"
    )
    with pytest.raises(ConfigError, match=message):
        tiny_encoder()(torch.zeros(1, frames, 3, height, width))


def test_an_untrained_encoder_is_a_function_of_its_seed() -> None:
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    first, second, other = (untrained_encoder(TINY, seed) for seed in (7, 7, 8))
    assert torch.equal(torch.random.get_rng_state(), before)
    weights, again, different = first.state_dict(), second.state_dict(), other.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["blocks.0.attn.qkv.weight"], different["blocks.0.attn.qkv.weight"])
    assert not first.training
    assert not any(p.requires_grad for p in first.parameters())


def test_the_initialisation_is_vjepa2s() -> None:
    """Truncated normal of 0.02; what writes to the stream of layer l is divided by sqrt(2 l)."""
    wide = dataclasses.replace(TINY, embed_dim=192, depth=3)
    weights = untrained_encoder(wide, 0).state_dict()
    for layer in range(3):
        shrink = math.sqrt(2 * (layer + 1))
        for name, std in {
            "attn.qkv": 0.02,
            "mlp.fc1": 0.02,
            "attn.proj": 0.02 / shrink,
            "mlp.fc2": 0.02 / shrink,
        }.items():
            assert float(weights[f"blocks.{layer}.{name}.weight"].std()) == pytest.approx(std, rel=0.03)
            assert not weights[f"blocks.{layer}.{name}.bias"].any()
    assert float(weights["patch_embed.proj.weight"].std()) == pytest.approx(0.02, rel=0.03)


def test_a_patch_of_pixels_is_one_token_in_row_order() -> None:
    encoder = PixelEncoder(dataclasses.replace(TINY, image_size=64, patch_size=16))
    for token, (_, h, w) in enumerate(reference.grid(1, 4, 4)):
        video = torch.zeros(1, 1, 3, 64, 64)
        video[0, 0, 1, 16 * h : 16 * h + 16, 16 * w : 16 * w + 16] = 5.0
        features = encoder(video)
        assert features.shape == (1, 16, encoder.width)
        assert features.abs().sum(dim=-1)[0].nonzero().flatten().tolist() == [token]
        colours = features[0, token].view(3, 8, 8)
        assert colours[1].unique().tolist() == [5.0]
        assert not colours[[0, 2]].any()


def test_a_pixel_token_contains_the_means_of_its_cells() -> None:
    encoder, video = (
        PixelEncoder(dataclasses.replace(TINY, image_size=32, patch_size=16)),
        random_video(2, 3, 3, 32, 32),
    )
    features = encoder(video)
    assert features.shape == (2, 3 * 2 * 2, 192)
    frame, h, w, colour, row, column = 2, 1, 0, 2, 5, 3
    cell = video[1, frame, colour, 16 * h + 2 * row :, 16 * w + 2 * column :][:2, :2]
    token = features[1].view(3, 2, 2, 3, 8, 8)[frame, h, w]
    torch.testing.assert_close(token[colour, row, column], cell.mean())
