"""The frame decoder: the pixels of each token, and reconstruction of images."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import DecoderConfig, EncoderConfig
from vjepa_world.models.decoder import FrameDecoder
from vjepa_world.models.encoder import PixelEncoder

SMALL = DecoderConfig(image_size=16, embed_dim=64, depth=1, num_heads=2)


def small_decoder(width: int = 12, tokens: tuple[int, int] = (4, 4)) -> FrameDecoder:
    torch.manual_seed(0)
    return FrameDecoder(SMALL, width, tokens)


def coloured_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Return pictures `[M, 3, 16, 16]` in [0, 1] of a coloured box somewhere on a coloured ground."""
    colour, ground = torch.rand(2, count, 3, 1, 1, generator=generator)
    start = torch.randint(0, 11, (2, count, 1, 1), generator=generator)
    within = torch.arange(16) - start  # 2 M 1 16
    rows, columns = (within >= 0) & (within < 6)
    return torch.where(rows.unsqueeze(3) & columns.unsqueeze(2), colour, ground)


@pytest.mark.parametrize(
    ("tokens", "shape"), [((4, 4), (16, 16)), ((4, 8), (16, 32)), ((2, 6), (16, 48)), ((6, 12), (16, 32))]
)
def test_a_picture_is_as_wide_as_its_views(tokens: tuple[int, int], shape: tuple[int, int]) -> None:
    out = small_decoder(tokens=tokens)(torch.randn(3, tokens[0] * tokens[1], 12))
    assert out.shape == (3, 3, *shape)
    assert out.dtype == torch.float32
    assert 0 <= out.min() <= out.max() <= 1


def test_a_token_decodes_its_own_patch() -> None:
    """Without blocks that mix them, a change of the token at row 1, column 2 shows at rows 4-7, columns 8-11."""
    decoder = small_decoder().eval()
    decoder.blocks = nn.ModuleList()
    features = torch.randn(1, 16, 12)
    changed = features.clone()
    changed[0, 1 * 4 + 2] += 1
    difference = (decoder(changed) - decoder(features)).detach().abs().sum(dim=1)[0]
    inside = difference[4:8, 8:12]
    assert (inside > 0).all()
    assert difference.sum() == inside.sum()


def test_a_patch_has_colours_rows_and_columns_in_that_order() -> None:
    decoder = small_decoder().eval()
    decoder.blocks = nn.ModuleList()
    with torch.no_grad():
        decoder.pixels.weight.zero_()
        decoder.pixels.bias.copy_(torch.linspace(-1, 1, 3 * 16))
        out = decoder(torch.randn(1, 16, 12))
    expected = torch.sigmoid(torch.linspace(-1, 1, 3 * 16)).reshape(3, 4, 4)
    torch.testing.assert_close(out[0], expected.repeat(1, 4, 4))


def test_decoder_blocks_depend_on_token_positions() -> None:
    """Features of the first token reach the others by their distance: two equal tokens get different patches."""
    decoder = small_decoder().eval()
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(12, generator=generator).expand(1, 16, -1).clone()
    features[0, 0] = torch.randn(12, generator=generator) * 5
    with torch.no_grad():
        decoder.blocks[0].attn.qkv.weight.mul_(20)  # type: ignore[union-attr, operator]
        out = decoder(features)
    assert (out[:, :, :4, 4:8] - out[:, :, 12:, 12:]).abs().max() > 1e-4


def test_a_decoder_learns_to_reconstruct_images() -> None:
    """Held out: less than a twentieth of the images' variance remains, far less than with their mean."""
    generator = torch.Generator().manual_seed(0)
    encoder = PixelEncoder(EncoderConfig(image_size=16, patch_size=4))
    decoder = small_decoder(width=encoder.width)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    for _ in range(200):
        pictures = coloured_boxes(32, generator)
        loss = F.mse_loss(decoder(encoder((pictures * 2 - 1).unsqueeze(1))), pictures)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pictures = coloured_boxes(128, generator)
    with torch.no_grad():
        back = decoder(encoder((pictures * 2 - 1).unsqueeze(1)))
    assert F.mse_loss(back, pictures) < 0.05 * pictures.var()


def test_it_is_small_at_the_default_sizes() -> None:
    decoder = FrameDecoder(DecoderConfig(), 192, (4, 4))
    assert sum(p.numel() for p in decoder.parameters()) < 600_000


def test_an_image_size_not_divisible_by_the_rows_is_decoded_larger_and_resized() -> None:
    """Three rows of 6 pixels are 18, shrunk to 16: a picture of one colour stays so, its thirds stay thirds."""
    decoder = small_decoder(tokens=(3, 3)).eval()
    decoder.blocks = nn.ModuleList()
    features = torch.zeros(1, 3, 3, 12)
    features[:, 1] = torch.randn(12, generator=torch.Generator().manual_seed(1)) * 50
    with torch.no_grad():
        decoder.pixels.weight.copy_(20 * decoder.pixels.weight[:1])
        out = decoder(features.flatten(1, 2))[0, 0]
    torch.testing.assert_close(out, out[:, :1].expand(-1, 16))
    torch.testing.assert_close(out[:5], out[:1].expand(5, -1))
    torch.testing.assert_close(out[11:], out[:1].expand(5, -1))
    torch.testing.assert_close(out[7:9], out[7:8].expand(2, -1))
    assert (out[0] - out[7]).abs().min() > 0.05


def test_mismatched_inputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="image_size is 0, which means that there is none"):
        FrameDecoder(DecoderConfig(image_size=0), 12, (4, 4))
    with pytest.raises(
        ConfigError, match=r"got features of shape \[1, 9, 12\] for a decoder of \[B, 16, 12\]"
    ):
        small_decoder()(torch.zeros(1, 9, 12))
