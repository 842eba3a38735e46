"""Tokens' pixels against loops and against the convolution whose weights they meet."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from vjepa_world.models.encoder import PatchEmbed
from vjepa_world.ops.patches import patchify


def test_each_token_holds_its_pixels() -> None:
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


def test_a_convolution_is_a_product_with_them() -> None:
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(2, 4, 3, 8, 12, generator=generator)
    kernel = torch.randn(5, 3, 2, 4, 4, generator=generator)
    expected = F.conv3d(video.transpose(1, 2), kernel, stride=(2, 4, 4)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(patchify(video, 4, 2) @ kernel.flatten(1).T, expected, atol=1e-4, rtol=1e-4)


def test_they_are_what_the_encoder_embeds_of_clips_and_of_images() -> None:
    embed = PatchEmbed(patch_size=4, tubelet_size=2, embed_dim=5).requires_grad_(False)
    video = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for frames in (video, video[:, :1]):
        tokens = F.linear(patchify(frames, 4, 2), embed.proj.weight.flatten(1), embed.proj.bias)
        torch.testing.assert_close(tokens, embed(frames), atol=1e-5, rtol=1e-5)
