"""A batch of clips: frames, names, labels, and the bad files that were met.

Shapes: B clips, V views of each, T frames of a view, C = 3 channels (RGB), S pixels of its square images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class ClipBatch:
    """Clips of one length.

    Args:
        frames: uint8 `[B, T, C, S, S]`, or `[B, V, T, C, S, S]` for V > 1 views; T = 1 for images.
        names: File and time of each clip, "FILE @ 3.25 s".
        labels: Label of each clip, "" if the corpus has none.
        bad: (name, reason) of the files found bad while this batch was made, each once in a run.
    """

    frames: Tensor
    names: tuple[str, ...]
    labels: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """Return B."""
        return len(self.names)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ClipBatch:
        """Return the batch with its frames on `device`."""
        return replace(self, frames=self.frames.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ClipBatch:
        """Return the batch with its frames in page-locked memory."""
        return replace(self, frames=self.frames.pin_memory())
