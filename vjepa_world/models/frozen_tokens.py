"""The tokens of a frozen encoder as world models take them: of single images, LayerNormed, not yet pooled.

Legend: M images, C channels, H W pixels, n tokens of an image, D feature width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.models.encoder import PixelEncoder, VideoEncoder
from vjepa_world.models.encoders.registered import NoEncoder


@torch.no_grad()
def image_tokens(encoder: VideoEncoder | PixelEncoder | NoEncoder, images: Tensor) -> Tensor:
    """Encode each image alone: `[M, C, H, W]` uint8, on the encoder's device, to `[M, n, D]`.

    Source: V-JEPA 2-AC encodes a frame as an image, repeated over a tubelet.
    """
    return normalised_tokens(encoder, encoder(encoder.preprocessing(images).unsqueeze(1)))


def normalised_tokens(encoder: nn.Module, encoded: Tensor) -> Tensor:
    """Return the tokens `[M, n, D]` of an encoder, LayerNormed but for those of the raw-pixel control."""
    if isinstance(encoder, PixelEncoder):
        return encoded
    return F.layer_norm(encoded, encoded.shape[-1:])
