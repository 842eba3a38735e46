"""Our encoder compared with transformers' VJEPA2 on the same weights and clips, and the time to load weights."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row, time_pair
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.training.engine.matrix_rate import matmul_gflops


class Size(NamedTuple):
    """The encoder and its input: `clips` clips of `frames` frames; each side is repeated at most `repeats` times."""

    name: str
    encoder: EncoderConfig
    clips: int
    frames: int
    repeats: int


SMALL = Size(
    "ViT-S/16, 2 x 8 x 224", EncoderConfig(image_size=224, embed_dim=384, depth=12, num_heads=6), 2, 8, 5
)
LARGE = Size(
    "ViT-L/16, 1 x 16 x 256", EncoderConfig(image_size=256, embed_dim=1024, depth=24, num_heads=16), 1, 16, 2
)

#: Most repetitions of loading.
LOADS = 5

#: Number of float32 values in a memory page.
PAGE = 1024


def run(config: BenchConfig) -> list[Row]:
    """Return encoder throughputs in clips/s, by size and precision, and the seconds to load ViT-L.

    Raises:
        ConfigError: If transformers is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ConfigError("bench encoder needs transformers: pip install 'vjepa-world[huggingface]'.")
    from vjepa_world.models.encoder import untrained_encoder
    from vjepa_world.pretrained import read_checkpoint, save_pretrained
    from vjepa_world.pretrained.native import write_native
    from vjepa_world.system.device import resolve_device, set_threads

    set_threads(0)
    device = resolve_device(config.device)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in (SMALL, LARGE):
            folder = Path(scratch) / size.name.split("/")[0]
            save_pretrained(untrained_encoder(size.encoder, config.seed), folder)
            rows += _forward_rows(size, folder, device, config)
        rows.append(_loading_row("transformers' layout", folder, config))
        write_native(read_checkpoint(folder), Path(scratch) / "own")
        rows.append(_loading_row("our layout", Path(scratch) / "own", config))
    return rows


def _forward_rows(size: Size, folder: Path, device: torch.device, config: BenchConfig) -> list[Row]:
    from transformers import VJEPA2Model

    from vjepa_world.pretrained import load_encoder

    name, encoder, clips, frames, repeats = size
    generator = torch.Generator().manual_seed(config.seed)
    video = torch.randn(clips, frames, 3, encoder.image_size, encoder.image_size, generator=generator)
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        ours = load_encoder(folder, device=device, dtype=dtype)
        theirs: Any = VJEPA2Model.from_pretrained(folder, dtype=dtype)
        theirs = theirs.to(device).eval()
        pixels = video.to(device, dtype)
        with torch.inference_mode():
            pair = time_pair(
                partial(ours, pixels),
                partial(theirs, pixels, skip_predictor=True),
                repeats=min(config.repeats, repeats),
                synchronize=_waiter(device),
            )
        limit = 1e9 * matmul_gflops(dtype, device.type) * clips / encoder_flops(encoder, clips, frames)
        label = f"{name}, {str(dtype).removeprefix('torch.')}"
        rows.append(row(label, clips / pair.ours, clips / pair.baseline, "clips/s", limit=limit))
    return rows


def encoder_flops(encoder: EncoderConfig, clips: int, frames: int) -> float:
    """Return the multiplications and additions of the matrix products of one forward pass."""
    tokens = (frames // encoder.tubelet_size) * encoder.grid_size**2
    dim = encoder.embed_dim
    patch = 3 * encoder.tubelet_size * encoder.patch_size**2
    block = dim * dim * (4 + 2 * encoder.mlp_ratio) + 2 * tokens * dim
    return 2.0 * clips * tokens * (patch * dim + encoder.depth * block)


def _loading_row(layout: str, folder: Path, config: BenchConfig) -> Row:
    """Return the time to load until every page of the weights is in memory, compared with reading the file."""
    from vjepa_world.pretrained import load_encoder

    weights = folder / "model.safetensors"

    def load() -> Tensor:
        return torch.stack([p.flatten()[::PAGE].sum() for p in load_encoder(folder).parameters()])

    pair = time_pair(load, weights.read_bytes, repeats=min(config.repeats, LOADS))
    name = f"load ViT-L ({layout}), compared with reading the file"
    return row(name, pair.ours, pair.baseline, "s", lower_is_better=True)


def _waiter(device: torch.device) -> Callable[[], None] | None:
    return torch.cuda.synchronize if device.type == "cuda" else None
