"""A pretraining step compared with a plain PyTorch implementation: clips/s, share of the matrix rate, memory.

Both sides train on the same clips with the same masks; ours is what `vjepa-world pretrain` runs.
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row, time_pair
from vjepa_world.bench.memory import measured_in_process, peak_rise_gb, print_gb
from vjepa_world.bench.references.pretrain_step import PlainStep
from vjepa_world.data.loading.batches import ClipBatch
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.matrix_rate import matrix_rate
from vjepa_world.training.engine.step_draw import StepDraw, step_generator
from vjepa_world.training.engine.trainer import Trainer
from vjepa_world.training.pretrain.objectives.config import JEPAConfig
from vjepa_world.training.pretrain.objectives.registry import build_objective
from vjepa_world.training.pretrain.objectives.step_masks import draw_groups
from vjepa_world.training.pretrain.task import PretrainTask

#: Most steps of each side: a step takes seconds on a CPU.
MAX_REPEATS = 3

#: Number of steps over which the memory of each side is measured.
MEMORY_STEPS = 2


class Size(NamedTuple):
    """Model, and number of clips per step."""

    name: str
    encoder: EncoderConfig
    predictor: MaskedPredictorConfig
    clips: int


SMALL = Size(
    "ViT-S/16, 16 x 224",
    EncoderConfig(image_size=224, embed_dim=384, depth=12, num_heads=6),
    MaskedPredictorConfig(embed_dim=192, depth=6, num_heads=6),
    2,
)
LARGE = Size(
    "ViT-L/16, 16 x 256",
    EncoderConfig(image_size=256, embed_dim=1024, depth=24, num_heads=16),
    MaskedPredictorConfig(embed_dim=384, depth=12, num_heads=12),
    24,
)
OBJECTIVE = JEPAConfig(image_fraction=0.0)


def run(config: BenchConfig) -> list[Row]:
    """Return clips/s compared with the plain step in both precisions, the share of the matrix rate, and peak memory."""
    from vjepa_world.system.device import resolve_device, set_threads

    set_threads(0)
    device = resolve_device(config.device)
    size = LARGE if device.type == "cuda" else SMALL
    ours = Ours(size, device, config.seed)
    rate = matrix_rate(device, ours.trainer.dtype)
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        plain = Plain(size, device, config.seed, dtype)
        pair = time_pair(ours, plain, repeats=min(config.repeats, MAX_REPEATS), synchronize=_waiter(device))
        limit = size.clips * rate / ours.task.flops
        label = f"{size.name}, {_dtype_name(ours.trainer.dtype)} compared with plain {_dtype_name(dtype)}"
        rows.append(row(label, size.clips / pair.ours, size.clips / pair.baseline, "clips/s", limit=limit))
    arguments = (config.device, str(config.seed))
    mine, theirs = (measured_in_process(__name__, side, *arguments) for side in ("ours", "plain"))
    rows.append(row(f"{size.name}, memory of a step", mine, theirs, "GB", lower_is_better=True))
    return rows


class Ours:
    """Our implementation; each call takes a step."""

    def __init__(self, size: Size, device: torch.device, seed: int) -> None:
        trainer = TrainerConfig(steps=1_000_000, batch_size=size.clips, compile=device.type == "cuda")
        objective = build_objective(size.encoder, size.predictor, OBJECTIVE, seed=seed)
        self.batch = _clips(size, seed)
        self.task = PretrainTask(
            _NoLoader(), objective, OBJECTIVE, trainer, seed=seed, device=device, provenance={}
        )
        self.folder = tempfile.TemporaryDirectory()
        self.trainer = Trainer(self.task, trainer, Path(self.folder.name), device)
        self.step = 0

    def __call__(self) -> Any:
        """Take a step."""
        self.step += 1
        return self.trainer.step(self.step, self.batch)


class Plain:
    """The plain step on the same clips and masks; each call takes a step."""

    def __init__(self, size: Size, device: torch.device, seed: int, dtype: torch.dtype) -> None:
        self.size, self.device, self.seed, self.dtype = size, device, seed, dtype
        self.model = PlainStep(size.encoder, size.predictor, lr=1e-3, momentum=OBJECTIVE.ema[0]).to(device)
        self.batch, self.step = _clips(size, seed), 0

    def __call__(self) -> Any:
        """Take a step."""
        self.step += 1
        generator = step_generator(self.seed, self.step)
        torch.rand((), generator=generator)  # ours draws the kind of step here
        encoder = self.size.encoder
        grid = (encoder.num_frames // encoder.tubelet_size, encoder.grid_size, encoder.grid_size)
        [group] = draw_groups(OBJECTIVE, grid, self.size.clips, False, StepDraw(generator))
        masks = [
            (family.context.to(self.device), family.flat_hidden().to(self.device))
            for family in group.families
        ]
        return self.model(normalize_video(self.batch.frames.to(self.device)), masks, grid, self.dtype)


class _NoLoader:
    def batches(self, start_step: int, steps: int) -> Any:
        """Return no batches: the benchmark has its own."""
        return iter(())


def _clips(size: Size, seed: int) -> ClipBatch:
    generator = torch.Generator().manual_seed(seed)
    shape = (size.clips, size.encoder.num_frames, 3, size.encoder.image_size, size.encoder.image_size)
    frames: Tensor = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return ClipBatch(frames, ("noise",) * size.clips, ("",) * size.clips)


def _measure_memory(side: str, device_name: str, seed: int) -> float:
    from vjepa_world.system.device import resolve_device, set_threads

    set_threads(0)
    device = resolve_device(device_name)
    size = LARGE if device.type == "cuda" else SMALL
    step = Ours(size, device, seed) if side == "ours" else Plain(size, device, seed, torch.float32)
    return peak_rise_gb(step, MEMORY_STEPS, device)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _waiter(device: torch.device) -> Any:
    return partial(torch.cuda.synchronize, device) if device.type == "cuda" else None


if __name__ == "__main__":
    print_gb(_measure_memory(sys.argv[1], sys.argv[2], int(sys.argv[3])))
