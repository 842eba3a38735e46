"""Normalisation against the published constants, resizing against the mean of an image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vjepa_world.models.encoder import PatchEmbed
from vjepa_world.ops.pixels import normalize_video, patchify, resize_frames


def test_normalisation_is_imagenets() -> None:
    video = torch.zeros(2, 3, 3, 2, 2, dtype=torch.uint8)
    video[:, :, 0], video[:, :, 1], video[:, :, 2] = 255, 128, 0
    normal = normalize_video(video)
    assert normal.dtype == torch.float32
    assert normal.shape == video.shape
    expected = [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    for channel, value in enumerate(expected):
        torch.testing.assert_close(normal[:, :, channel], torch.full((2, 3, 2, 2), value))


def test_frames_of_the_right_size_are_unchanged() -> None:
    frames = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    assert resize_frames(frames, 8) is frames


def test_resizing_keeps_bytes_and_flat_colours() -> None:
    frames = torch.full((2, 3, 30, 17), 200, dtype=torch.uint8)
    frames[1] = 37
    resized = resize_frames(frames, 8)
    assert resized.shape == (2, 3, 8, 8)
    assert resized.dtype == torch.uint8
    assert resized[0].unique().tolist() == [200]
    assert resized[1].unique().tolist() == [37]


def test_resizing_does_not_alias() -> None:
    """Of a fine checkerboard every third pixel is a checkerboard again; its average is grey."""
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    board = (255 * ((rows + columns) % 2)).to(torch.uint8).expand(1, 3, 24, 24)
    inside = resize_frames(board, 8)[..., 1:-1, 1:-1].float()
    assert (inside - 127.5).abs().max() < 16


def test_resizing_keeps_left_and_right_and_top_and_bottom() -> None:
    frames = torch.zeros(1, 3, 32, 64, dtype=torch.uint8)
    frames[:, 0, :16], frames[:, 1, :, :32] = 255, 255
    red, green, blue = (resize_frames(frames, 4)[0] > 127).tolist()
    assert red == [[True] * 4] * 2 + [[False] * 4] * 2
    assert green == [[True, True, False, False]] * 4
    assert blue == [[False] * 4] * 4


@pytest.mark.gpu
def test_a_gpu_resizes_as_the_processor_does() -> None:
    frames = torch.randint(0, 256, (2, 3, 30, 40), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    there = resize_frames(frames.cuda(), 16).cpu()
    assert there.dtype == torch.uint8
    assert (there.int() - resize_frames(frames, 16).int()).abs().max() <= 2


def test_each_token_contains_its_pixels() -> None:
    video = torch.arange(2 * 4 * 3 * 6 * 4).view(2, 4, 3, 6, 4)
    tokens = patchify(video, 2, 2)
    assert tokens.shape == (2, 2 * 3 * 2, 3 * 2 * 2 * 2)
    token = 0
    for t in range(0, 4, 2):
        for h in range(0, 6, 2):
            for w in range(0, 4, 2):
                pixels = [
                    int(video[1, t + s, c, h + i, w + j])
                    for c in range(3)
                    for s in range(2)
                    for i in range(2)
                    for j in range(2)
                ]
                assert tokens[1, token].tolist() == pixels
                token += 1


def test_a_convolution_is_a_product_with_the_pixel_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(2, 4, 3, 8, 12, generator=generator)
    kernel = torch.randn(5, 3, 2, 4, 4, generator=generator)
    expected = F.conv3d(video.transpose(1, 2), kernel, stride=(2, 4, 4)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(patchify(video, 4, 2) @ kernel.flatten(1).T, expected, atol=1e-4, rtol=1e-4)


def test_the_encoder_embeds_the_pixel_tokens_of_clips_and_images() -> None:
    embed = PatchEmbed(patch_size=4, tubelet_size=2, embed_dim=5).requires_grad_(False)
    video = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for frames in (video, video[:, :1]):
        tokens = F.linear(patchify(frames, 4, 2), embed.proj.weight.flatten(1), embed.proj.bias)
        torch.testing.assert_close(tokens, embed(frames), atol=1e-5, rtol=1e-5)
