"""A control: distinguish clips by two views of each, with the same encoder and data.

Legend: B clips of this process, V = 2 views, T frames, C channels, H W pixels; D width, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.training.engine.distributed import all_rows, ranks
from vjepa_world.training.engine.flops import encoder_forward
from vjepa_world.training.engine.step_draw import StepDraw
from vjepa_world.training.pretrain.losses.contrastive import nt_xent
from vjepa_world.training.pretrain.objectives.config import ContrastiveConfig
from vjepa_world.training.pretrain.objectives.protocol import ForwardPass


class Contrastive:
    """Makes two crops of a clip alike, and unlike those of all other clips of the global batch.

    Source: SimCLR (arXiv:2002.05709); its colour distortion is `objective.color_jitter` and `objective.gray_fraction`.
    """

    views = 2

    def __init__(
        self, encoder: EncoderConfig, predictor: MaskedPredictorConfig, config: ContrastiveConfig
    ) -> None:
        self.config, self.flops = config, 0.0
        dim = encoder.embed_dim
        self.encoder = VideoEncoder(encoder)
        self.projector = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, config.projection_dim))
        self.modules = nn.ModuleDict({"encoder": self.encoder, "projector": self.projector})

    @property
    def frozen(self) -> VideoEncoder:
        """The encoder itself."""
        return self.encoder

    def forward_passes(self, video: Tensor, draw: StepDraw) -> Sequence[ForwardPass]:
        """Return the single pass of a step, for every clip is compared with every other.

        Args:
            video: Normalised, `[B, V, T, C, H, W]`.
            draw: The step's random numbers.
        """
        config, views = self.encoder.config, video.shape[:2].numel()
        tokens = math.prod(self.encoder.token_grid(video[:, 0]))
        self.flops = views * encoder_forward(config, tokens).trained(recompute=self.encoder.recompute)
        drawn = draw.own(torch.rand(draw.total(len(video)), self.views, generator=draw.generator))
        gray = (drawn < self.config.gray_fraction).to(video.device)
        return [lambda: self._metrics(video, gray)]

    def _metrics(self, video: Tensor, gray: Tensor) -> dict[str, Tensor]:
        """Return the loss, with the views that `gray [B, V]` selects without colour."""
        without = video.mean(dim=3, keepdim=True).expand_as(video)
        seen = torch.where(gray.view(*gray.shape, 1, 1, 1, 1), without, video)
        pooled = self.encoder(seen.flatten(0, 1)).mean(dim=1)
        embedded = self.projector(pooled).unflatten(0, video.shape[:2])
        loss = nt_xent(
            embedded[:, 0], embedded[:, 1], self.config.temperature, rows=all_rows, rank=ranks().rank
        )
        return {"loss": loss, "loss_contrastive": loss}

    def after_step(self, progress: float) -> None:
        """Nothing follows a step."""
