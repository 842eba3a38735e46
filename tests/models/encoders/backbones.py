"""Small transformers backbones with random weights, as folders with their image processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch

_VIT: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 16,
}
_STAGES: dict[str, Any] = {"hidden_sizes": [8, 8, 16, 32], "depths": [1, 1, 1, 1]}
_TEXT: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_SQUARE = {"size": {"height": 64, "width": 64}}
_CROPPED = {"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}, "do_center_crop": True}


class Kind(NamedTuple):
    """A model type: its configuration, its processor, and where its patches are among its tokens."""

    config: dict[str, Any]
    processor: str
    settings: dict[str, Any]
    prefix: int = 0
    side: int = 4


KINDS = {
    "dinov2": Kind({**_VIT, "image_size": 140}, "BitImageProcessor", {**_CROPPED, "resample": 3}, 1),
    "dinov2_with_registers": Kind(_VIT, "BitImageProcessor", {**_CROPPED, "resample": 3}, 1 + 4),
    "dinov3_vit": Kind({**_VIT, "num_register_tokens": 3}, "ViTImageProcessor", _SQUARE, 1 + 3),
    "dinov3_convnext": Kind(_STAGES, "ViTImageProcessor", _SQUARE, 1, 2),
    "siglip": Kind(
        {"vision_config": _VIT, "text_config": _TEXT}, "SiglipImageProcessor", {**_SQUARE, "resample": 3}
    ),
    "clip": Kind({"vision_config": _VIT, "text_config": _TEXT}, "CLIPImageProcessor", _CROPPED, 1),
    "vit": Kind({**_VIT, "image_size": 32}, "ViTImageProcessor", _SQUARE, 1),
    "vit_mae": Kind(_VIT, "ViTImageProcessor", _SQUARE, 1),
    "deit": Kind(_VIT, "DeiTImageProcessor", {**_CROPPED, "size": {"height": 73, "width": 73}}, 2),
    "beit": Kind(_VIT, "BeitImageProcessor", {**_SQUARE, "do_center_crop": False}, 1),
    "convnext": Kind(
        _STAGES, "ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.875}, 0, 2
    ),
    "resnet": Kind(
        {"embedding_size": 8, **_STAGES}, "ConvNextImageProcessor", {"size": {"shortest_edge": 384}}, 0, 12
    ),
    "swin": Kind(
        {"image_size": 64, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4},
        "ViTImageProcessor",
        _SQUARE,
        0,
        8,
    ),
}


def save_backbone(kind: str, folder: Path, *, config: dict[str, Any] | None = None) -> Path:
    """Write a folder as `save_pretrained` of model and processor does."""
    import transformers

    given = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        described = transformers.AutoConfig.for_model(kind, **{**given.config, **(config or {})})
        transformers.AutoModel.from_config(described).save_pretrained(folder)
    save_processor(folder, given.processor, **given.settings)
    return folder


def save_processor(folder: Path, name: str, **settings: Any) -> None:
    import transformers

    getattr(transformers, f"{name}Pil")(**settings).save_pretrained(folder)


def images(count: int = 2, height: int = 90, width: int = 131) -> torch.Tensor:
    """Return smooth pictures with noise, uint8 `[M, 3, H, W]`."""
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 8, 11, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    return (230 * smooth + 25 * torch.rand(smooth.shape, generator=rng)).to(torch.uint8)
