"""The interface of a pretraining objective.

Legend: B clips of this process, T frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.training.engine.parallel import ForwardPass
from vjepa_world.training.engine.step_draw import StepDraw

__all__ = ["ForwardPass", "Objective"]


class Objective(Protocol):
    """Owns the modules that are trained, and turns a batch into the forward passes of a step.

    All randomness is drawn for the global batch from :class:`StepDraw`, so that no result depends on the number of
    processes.
    """

    #: Floating-point operations of the last returned passes, forward and backward; 0 if not counted.
    flops: float
    #: Crops of each clip that a batch holds.
    views: int
    #: The encoder that is trained.
    encoder: VideoEncoder
    #: All weights that a resumed run needs; those that require a gradient are trained.
    modules: nn.ModuleDict

    @property
    def frozen(self) -> VideoEncoder:
        """The encoder that users get: the trained one, or its moving average."""
        ...

    def forward_passes(self, video: Tensor, draw: StepDraw) -> Sequence[ForwardPass]:
        """Return the forward passes of a step; their losses, gradients and metrics add up.

        Args:
            video: Normalised, `[B, T, C, H, W]`, or `[B, views, T, C, H, W]` with more than one view.
            draw: The step's random numbers.
        """
        ...

    def after_step(self, progress: float) -> None:
        """Do what follows the optimizer's step; `progress` is the share of the run that is done."""
        ...
