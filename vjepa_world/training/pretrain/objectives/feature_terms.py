"""What keeps features from collapsing: VICReg's and SIGReg's terms on the encoder's visible tokens.

Legend: B clips of this process, n tokens, D width, K directions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.ops.regularizers import covariance_penalty, random_directions, sigreg, variance_hinge
from vjepa_world.training.engine.distributed import all_mean, ranks
from vjepa_world.training.pretrain.config import PretrainObjective

#: Tokens of each clip that are looked at: neighbours say nearly the same.
TOKENS = 16


class FeatureTerms:
    """The terms that `objective` gives a weight, with the statistics of the *global* batch."""

    def __init__(self, objective: PretrainObjective) -> None:
        self.objective = objective

    def directions(self, width: int, generator: torch.Generator) -> Tensor | None:
        """Draw the directions `[D, K]` that SIGReg looks along, the same in every process."""
        if not self.objective.sigreg:
            return None
        return random_directions(width, self.objective.sigreg_directions, generator)

    def __call__(self, features: Tensor, directions: Tensor | None) -> dict[str, tuple[Tensor, float]]:
        """Return each term with its weight.

        Args:
            features: `[B, n, D]`, with gradients.
            directions: From :meth:`directions`.
        """
        objective = self.objective
        stride = max(features.shape[1] // TOKENS, 1)
        rows = features[:, ::stride].float().flatten(0, 1)
        count = ranks().world_size
        terms: dict[str, tuple[Tensor, float]] = {}
        if objective.variance:
            terms["variance"] = (variance_hinge(rows, mean=all_mean, processes=count), objective.variance)
        if objective.covariance:
            terms["covariance"] = (
                covariance_penalty(rows, mean=all_mean, processes=count),
                objective.covariance,
            )
        if directions is not None:
            terms["sigreg"] = (
                sigreg(rows, directions.to(rows), mean=all_mean, processes=count),
                objective.sigreg,
            )
        return terms
