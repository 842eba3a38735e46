"""What a pretraining method must offer.

Legend: B clips of this process, T frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.training.pretrain.objectives.draw import Part, StepDraw


class Method(Protocol):
    """Owns weights, and turns a batch into parts of a loss."""

    #: Floating-point operations of the parts that were last returned, forward and backward; 0 if not counted.
    flops: float
    #: Views of each clip that a batch holds.
    views: int
    #: The encoder that is trained.
    encoder: VideoEncoder
    #: All weights that a resumed run needs; those that require a gradient are trained.
    modules: nn.ModuleDict

    @property
    def frozen(self) -> VideoEncoder:
        """The encoder that users get."""
        ...

    def parts(self, video: Tensor, draw: StepDraw) -> Sequence[Part]:
        """Return what a step adds up.

        Args:
            video: Normalised, `[B, T, C, H, W]`, or `[B, views, T, C, H, W]` with more than one view.
            draw: The step's random numbers.
        """
        ...

    def after_step(self, progress: float) -> None:
        """Do what follows the optimizer's step; `progress` is the share of the run that is done."""
        ...
