"""A control: tell clips apart by two views of each, with the same encoder and data.

Legend: B clips of this process, V = 2 views, T frames, C channels, H W pixels; D width, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.training.engine.distributed import all_rows, ranks
from vjepa_world.training.engine.flops import encoder_forward
from vjepa_world.training.pretrain.config import PretrainObjective
from vjepa_world.training.pretrain.losses.contrastive import nt_xent
from vjepa_world.training.pretrain.objectives.draw import Part, StepDraw


class Contrastive:
    """Two crops of one clip are to be alike, and unlike those of all other clips of the global batch.

    Source: SimCLR (arXiv:2002.05709); its colour distortion is `objective.color_jitter` and `objective.gray_fraction`.
    """

    views = 2

    def __init__(self, encoder: EncoderConfig, objective: PretrainObjective) -> None:
        self.objective, self.flops = objective, 0.0
        dim = encoder.embed_dim
        self.encoder = VideoEncoder(encoder)
        self.projector = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, objective.projection_dim)
        )
        self.modules = nn.ModuleDict({"encoder": self.encoder, "projector": self.projector})

    @property
    def frozen(self) -> VideoEncoder:
        """The encoder itself."""
        return self.encoder

    def parts(self, video: Tensor, draw: StepDraw) -> Sequence[Part]:
        """Return the one part: every clip is compared with every other."""
        config, views = self.encoder.config, video.shape[:2].numel()
        tokens = math.prod(self.encoder.token_grid(video[:, 0]))
        self.flops = views * encoder_forward(config, tokens).trained(recompute=self.encoder.recompute)
        gray = draw.own(torch.rand(draw.total(len(video)), self.views, generator=draw.generator))
        return [lambda: self._figures(video, (gray < self.objective.gray_fraction).to(video.device))]

    def _figures(self, video: Tensor, gray: Tensor) -> dict[str, Tensor]:
        without = video.mean(dim=3, keepdim=True).expand_as(video)
        seen = torch.where(gray.view(*gray.shape, 1, 1, 1, 1), without, video)
        pooled = self.encoder(seen.flatten(0, 1)).mean(dim=1)
        embedded = self.projector(pooled).unflatten(0, video.shape[:2])
        loss = nt_xent(
            embedded[:, 0], embedded[:, 1], self.objective.temperature, rows=all_rows, rank=ranks().rank
        )
        return {"loss": loss, "loss_contrastive": loss}

    def after_step(self, progress: float) -> None:
        """Nothing follows a step."""
