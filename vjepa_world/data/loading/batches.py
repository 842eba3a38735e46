"""What a loader hands to training: clips, what they are called, and what was found bad on the way.

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
        frames: uint8 [B,T,C,S,S], or [B,V,T,C,S,S] of V > 1 views; T = 1 are images.
        names: of each clip, its file and place, "FILE @ 3.25 s".
        labels: of each clip, "" where the corpus has none.
        bad: (name, reason) of the files that were found bad while this batch was made, each once in a run.
    """

    frames: Tensor
    names: tuple[str, ...]
    labels: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """B."""
        return len(self.names)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ClipBatch:
        """Return the batch with its frames on `device`."""
        return replace(self, frames=self.frames.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ClipBatch:
        """Return the batch with its frames in page-locked memory."""
        return replace(self, frames=self.frames.pin_memory())
