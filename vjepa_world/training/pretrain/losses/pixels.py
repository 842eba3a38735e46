"""The loss of masked pixel reconstruction, a control objective.

Legend: B clips, T frames, C channels, H W pixels; Np hidden tokens, P = C*s*p*p pixels of a token (tubelets of s
frames, patches of p pixels).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vjepa_world.ops.masking.blocks import gather_tokens
from vjepa_world.ops.pixels import patchify


def pixel_targets(
    video: Tensor, hidden: Tensor, patch_size: int, tubelet_size: int, *, normalize: bool = True
) -> Tensor:
    r"""Return the pixels to predict, :math:`(x - \mu) / \sqrt{\sigma^2 + 10^{-6}}` with the statistics of each token.

    Mean and variance (over P - 1) are over all pixels and colours of the token, so that the loss is about structure.

    Args:
        video: `[B, T, C, H, W]` float, as the encoder sees it; T = 1 stands for the frame repeated over a tubelet.
        hidden: Indices of the hidden tokens, `[B, Np]`.
        patch_size: p.
        tubelet_size: s.
        normalize: Whether to normalise each token; else its pixels are returned.

    Returns:
        `[B, Np, P]` float32.

    Source: MAE (arXiv:2111.06377, section 3). VideoMAE (arXiv:2203.12602) does so for each colour separately.
    """
    pixels = gather_tokens(patchify(video, patch_size, tubelet_size), hidden).float()
    if not normalize:
        return pixels
    count = pixels.shape[-1]
    unbiased = (count - 1) / count  # layer_norm, one pass over the pixels, divides by the variance over P
    return F.layer_norm(pixels, (count,), eps=1e-6 * unbiased) * unbiased**0.5


def masked_pixel_l2(predicted: Tensor, target: Tensor) -> Tensor:
    r"""Return :math:`\frac{1}{BN_pP} \sum (p - x)^2`; a prediction of 0 for normalised pixels costs just under 1.

    Args:
        predicted: `[B, Np, P]`.
        target: From :func:`pixel_targets`.

    Source: MAE (arXiv:2111.06377, section 3).
    """
    return F.mse_loss(predicted.float(), target)
