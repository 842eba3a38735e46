"""Writes a step whose loss or gradient is not finite to disk: its metrics, names and batch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vjepa_world.files.atomic import write_json_atomic

#: Clips, and frames of a clip, in the image.
SHOWN_CLIPS, SHOWN_FRAMES = 16, 8


def dump_step(folder: Path, step: int, metrics: dict[str, float], names: Sequence[str], batch: Any) -> Path:
    """Write `nonfinite_step_N/` with `step.json`, `batch.pt` and, of clips, `frames.png`; return the folder.

    Args:
        folder: The run folder.
        step: The step.
        metrics: Its metrics; those that are not finite are written as text.
        names: Names of the batch's entries.
        batch: The batch, whose tensors are written.
    """
    dump = folder / f"nonfinite_step_{step}"
    dump.mkdir(parents=True, exist_ok=True)
    words = {name: value if np.isfinite(value) else str(value) for name, value in metrics.items()}
    write_json_atomic(dump / "step.json", {"step": step, "metrics": words, "entries": list(names)})
    tensors = _tensors(batch)
    torch.save(tensors, dump / "batch.pt")
    frames = next((t for t in tensors if t.dtype == torch.uint8 and t.ndim >= 5), None)
    if frames is not None:
        with contextlib.suppress(OSError):  # the image is a convenience; batch.pt has the frames
            _sheet(frames).save(dump / "frames.png")
    return dump


def _tensors(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch.cpu()]
    if isinstance(batch, tuple | list):
        return [tensor for item in batch for tensor in _tensors(item)]
    frames = getattr(batch, "frames", None)
    return _tensors(frames) if frames is not None else []


def _sheet(frames: Tensor) -> Image.Image:
    """Return an image of clips `[B, (V,) T, 3, H, W]`, a row of frames each."""
    clips = frames.flatten(0, -5)[:SHOWN_CLIPS]
    shown = clips[:, :: max(clips.shape[1] // SHOWN_FRAMES, 1)][:, :SHOWN_FRAMES]
    rows = shown.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # [B*H, T*W, 3]
    return Image.fromarray(rows.numpy())
