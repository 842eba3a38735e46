"""Small files with the entries, names, prefixes and shapes of the reference implementation, written from its code.

Every tensor is random and differs from all others. Widths are known ones, so that no heads need be given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
Content = dict[str, Any]

WIDTH, PREDICTOR_WIDTH, ACTION_WIDTH = 192, 384, 1024
HIDDEN, PATCH = 96, 4
BACKBONE, MODULE = "module.backbone.", "module."


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def blocks(name: str, depth: int, width: int, hidden: int = HIDDEN) -> Shapes:
    shapes: Shapes = {}
    for index in range(depth):
        block = f"{name}.{index}"
        shapes |= norm(f"{block}.norm1", width) | linear(f"{block}.attn.qkv", width, 3 * width)
        shapes |= linear(f"{block}.attn.proj", width, width) | norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.mlp.fc1", width, hidden) | linear(f"{block}.mlp.fc2", hidden, width)
    return shapes


def patches(width: int, *kernel: int, name: str = "patch_embed") -> Shapes:
    return {f"{name}.proj.weight": (width, 3, *kernel), f"{name}.proj.bias": (width,)}


def vjepa2_encoder(width: int = WIDTH, depth: int = 2) -> Shapes:
    return patches(width, 2, PATCH, PATCH) | blocks("blocks", depth, width) | norm("norm", width)


def vjepa2_predictor(
    encoder: int = WIDTH, width: int = PREDICTOR_WIDTH, depth: int = 1, mask_tokens: int = 10
) -> Shapes:
    shapes = linear("predictor_embed", encoder, width)
    shapes |= {f"mask_tokens.{index}": (1, 1, width) for index in range(mask_tokens)}
    shapes |= blocks("predictor_blocks", depth, width) | norm("predictor_norm", width)
    return shapes | linear("predictor_proj", width, encoder)


def action_predictor(
    encoder: int = WIDTH, width: int = ACTION_WIDTH, depth: int = 1, actions: int = 7
) -> Shapes:
    shapes = linear("predictor_embed", encoder, width) | linear("action_encoder", actions, width)
    shapes |= linear("state_encoder", actions, width) | linear("extrinsics_encoder", actions - 1, width)
    shapes |= blocks("predictor_blocks", depth, width) | norm("predictor_norm", width)
    return shapes | linear("predictor_proj", width, encoder)


def vjepa2_1_encoder(width: int = WIDTH, depth: int = 12) -> Shapes:
    shapes = patches(width, 2, PATCH, PATCH) | patches(width, 1, PATCH, PATCH, name="patch_embed_img")
    shapes |= blocks("blocks", depth, width, 24)
    for level in range(4):
        shapes |= norm(f"norms_block.{level}", width)
    return shapes | {"img_mod_embed": (1, 1, width), "video_mod_embed": (1, 1, width)}


def vjepa2_1_predictor(encoder: int = WIDTH, levels: int = 4, output: int = 4 * WIDTH) -> Shapes:
    width = PREDICTOR_WIDTH
    if levels == 1:
        shapes = linear("predictor_embed", encoder, width)
    else:
        shapes = linear("predictor_embed.0", levels * encoder, encoder)
        shapes |= linear("predictor_embed.2", encoder, width)
    shapes |= {f"mask_tokens.{index}": (1, 1, width) for index in range(8)}
    shapes |= {"video_mod_embed": (1, 1, width), "img_mod_embed": (1, 1, width)}
    shapes |= blocks("predictor_blocks", 2, width) | norm("predictor_norm", width)
    return shapes | linear("predictor_proj", width, output) | linear("predictor_proj_context", width, output)


def table(width: int, tokens: int, name: str = "pos_embed") -> Shapes:
    return {name: (1, tokens, width)}


def vjepa1_encoder(tokens: int = 8 * 3 * 3) -> Shapes:
    return table(WIDTH, tokens) | vjepa2_encoder()


def vjepa1_predictor(tokens: int = 8 * 3 * 3) -> Shapes:
    return table(PREDICTOR_WIDTH, tokens, "predictor_pos_embed") | vjepa2_predictor(mask_tokens=2)


def ijepa_encoder() -> Shapes:
    shapes = table(WIDTH, 5 * 5) | patches(WIDTH, PATCH, PATCH)
    return shapes | blocks("blocks", 2, WIDTH) | norm("norm", WIDTH)


def ijepa_predictor() -> Shapes:
    shapes = table(PREDICTOR_WIDTH, 5 * 5, "predictor_pos_embed") | vjepa2_predictor(mask_tokens=0)
    return shapes | {"mask_token": (1, 1, PREDICTOR_WIDTH)}


def probe(width: int = 64, outputs: int = 5, depth: int = 4) -> Shapes:
    cross = "pooler.cross_attention_block"
    shapes: Shapes = {"pooler.query_tokens": (1, 1, width)}
    shapes |= norm(f"{cross}.norm1", width) | linear(f"{cross}.xattn.q", width, width)
    shapes |= linear(f"{cross}.xattn.kv", width, 2 * width) | norm(f"{cross}.norm2", width)
    shapes |= linear(f"{cross}.mlp.fc1", width, HIDDEN) | linear(f"{cross}.mlp.fc2", HIDDEN, width)
    return shapes | blocks("pooler.blocks", depth - 1, width) | linear("linear", width, outputs)


def state(shapes: Shapes, prefix: str, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        prefix + name: torch.randn(shape, generator=generator) / math.sqrt(shape[-1])
        for name, shape in shapes.items()
    }


def training(encoder: Shapes, predictor: Shapes, prefix: str, averaged: str = "target_encoder") -> Content:
    """A training file's entries: three networks, an optimizer's state and counters."""
    moments = {"step": torch.tensor(5.0), "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}
    groups = [{"lr": 1e-4, "betas": (0.9, 0.999), "weight_decay": 0.04, "params": [0]}]
    return {
        "encoder": state(encoder, prefix, 1),
        "predictor": state(predictor, prefix, 2),
        "opt": {"state": {0: moments}, "param_groups": groups},
        "scaler": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0},
        averaged: state(encoder, prefix, 3),
        "epoch": 11,
        "loss": 0.25,
        "batch_size": 24,
        "world_size": 128,
        "lr": 5e-4,
    }


def vjepa2_file() -> Content:
    return training(vjepa2_encoder(), vjepa2_predictor(), BACKBONE)


def vjepa2_ac_file() -> Content:
    return training(vjepa2_encoder(), action_predictor(), MODULE)


def vjepa2_1_file() -> Content:
    return training(vjepa2_1_encoder(), vjepa2_1_predictor(), BACKBONE)


def vjepa2_1_distilled_file() -> Content:
    predictor = vjepa2_1_predictor(levels=1, output=1664)
    return training(vjepa2_1_encoder(), predictor, BACKBONE, averaged="ema_encoder")


def vjepa1_file() -> Content:
    return training(vjepa1_encoder(), vjepa1_predictor(), BACKBONE)


def ijepa_file() -> Content:
    return training(ijepa_encoder(), ijepa_predictor(), MODULE)


def probe_file(count: int = 3) -> Content:
    return {
        "classifiers": [state(probe(), MODULE, seed) for seed in range(count)],
        "opt": [{"state": {}, "param_groups": []} for _ in range(count)],
        "scaler": None,
        "epoch": 20,
        "batch_size": 4,
        "world_size": 64,
    }


FILES: dict[str, Callable[[], Content]] = {
    "V-JEPA 2": vjepa2_file,
    "V-JEPA 2-AC": vjepa2_ac_file,
    "V-JEPA 2.1": vjepa2_1_file,
    "V-JEPA 2.1 distilled": vjepa2_1_distilled_file,
    "V-JEPA 1": vjepa1_file,
    "I-JEPA": ijepa_file,
    "probe": probe_file,
}


def save(content: object, path: Path, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path
