"""What is kept of a step whose loss or gradient is not finite: figures, names, and the batch to look at."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vjepa_world.runs import write_json_atomic

#: Clips and frames of a clip in the picture.
SHOWN_CLIPS, SHOWN_FRAMES = 16, 8


def dump_step(folder: Path, step: int, figures: dict[str, float], names: Sequence[str], batch: Any) -> Path:
    """Write `nonfinite_step_N/` with `step.json`, `batch.pt` and, of clips, `frames.png`; return the folder.

    Args:
        folder: Where it goes.
        step: The step.
        figures: Its figures; those that are not finite are written as words.
        names: What the batch's entries are called.
        batch: The batch; its tensors are kept.
    """
    place = folder / f"nonfinite_step_{step}"
    place.mkdir(parents=True, exist_ok=True)
    words = {name: value if np.isfinite(value) else str(value) for name, value in figures.items()}
    write_json_atomic(place / "step.json", {"step": step, "figures": words, "entries": list(names)})
    tensors = _tensors(batch)
    torch.save(tensors, place / "batch.pt")
    frames = next((t for t in tensors if t.dtype == torch.uint8 and t.ndim >= 5), None)
    if frames is not None:
        with contextlib.suppress(OSError):  # the picture is for convenience; what it shows is in batch.pt
            _sheet(frames).save(place / "frames.png")
    return place


def _tensors(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch.cpu()]
    if isinstance(batch, tuple | list):
        return [tensor for item in batch for tensor in _tensors(item)]
    frames = getattr(batch, "frames", None)
    return _tensors(frames) if frames is not None else []


def _sheet(frames: Tensor) -> Image.Image:
    """Return clips `[B, (V,) T, 3, H, W]` as rows of frames."""
    clips = frames.flatten(0, -5)[:SHOWN_CLIPS]
    shown = clips[:, :: max(clips.shape[1] // SHOWN_FRAMES, 1)][:, :SHOWN_FRAMES]
    rows = shown.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # [B*H, T*W, 3]
    return Image.fromarray(rows.numpy())
