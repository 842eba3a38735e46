"""Terms against collapse: VICReg's and SIGReg's, on the encoder's visible tokens.

Legend: B clips of this process, n tokens, D width, K directions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.ops.regularizers import covariance_penalty, random_directions, sigreg, variance_hinge
from vjepa_world.training.engine.distributed import all_mean, ranks
from vjepa_world.training.pretrain.objectives.config import JEPAConfig

#: Tokens of each clip that are used: neighbours are nearly equal.
TOKENS = 16


class CollapseRegularizers:
    """The terms to which the configuration gives a weight, with the statistics of the global batch."""

    def __init__(self, config: JEPAConfig) -> None:
        self.config = config

    def directions(self, width: int, generator: torch.Generator) -> Tensor | None:
        """Draw SIGReg's directions `[D, K]`, the same in every process; None without SIGReg."""
        if not self.config.sigreg:
            return None
        return random_directions(width, self.config.sigreg_directions, generator)

    def __call__(self, features: Tensor, directions: Tensor | None) -> dict[str, tuple[Tensor, float]]:
        """Return each term by name, with its weight.

        Args:
            features: `[B, n, D]`, with gradients.
            directions: `[D, K]`, from :meth:`directions`.
        """
        config = self.config
        stride = max(features.shape[1] // TOKENS, 1)
        rows = features[:, ::stride].float().flatten(0, 1)
        count = ranks().world_size
        terms: dict[str, tuple[Tensor, float]] = {}
        if config.variance:
            terms["variance"] = (variance_hinge(rows, mean=all_mean, processes=count), config.variance)
        if config.covariance:
            terms["covariance"] = (
                covariance_penalty(rows, mean=all_mean, processes=count),
                config.covariance,
            )
        if directions is not None:
            terms["sigreg"] = (
                sigreg(rows, directions.to(rows), mean=all_mean, processes=count),
                config.sigreg,
            )
        return terms
