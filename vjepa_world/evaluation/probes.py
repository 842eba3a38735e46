"""Linear probes: what can be read off frozen features with one matrix.

Legend: M frames, F features, K outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Ridge penalties tried, as shares of the mean eigenvalue of the features' covariance.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class ProbeResult:
    """Errors of a probe on frames it was not fitted to: `errors [M]`, Euclidean, in the target's unit."""

    errors: Tensor
    penalty: float

    @property
    def mean(self) -> float:
        """Mean Euclidean error."""
        return self.errors.mean().item()

    @property
    def median(self) -> float:
        """Median Euclidean error."""
        return self.errors.median().item()


def ridge(features: Tensor, targets: Tensor, penalty: float) -> Tensor:
    r"""Return :math:`W = (X^\top X + \lambda \bar\sigma I)^{-1} X^\top Y`, in the dual form where that is smaller.

    Args:
        features: `X [M, F]`, centred.
        targets: `Y [M, K]`, centred.
        penalty: :math:`\lambda`, in units of the mean eigenvalue :math:`\bar\sigma`.

    Returns:
        `[F, K]`.
    """
    samples, width = features.shape
    scale = penalty * features.square().sum() / width
    if width <= samples:
        gram = features.T @ features
        gram.diagonal().add_(scale)
        return torch.linalg.solve(gram, features.T @ targets)
    gram = features @ features.T
    gram.diagonal().add_(scale)
    return features.T @ torch.linalg.solve(gram, targets)


def linear_probe(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, validation_fraction: float = 0.2
) -> ProbeResult:
    """Fit a ridge regression and measure it on other frames.

    The penalty is chosen on the last part of the training frames, never on the test frames.

    Args:
        train: Features `[M, F]` and targets `[M, K]`; the last frames should be episodes of their own.
        test: The same, of unseen scenes.
        validation_fraction: Share of the training frames that chooses the penalty.

    Returns:
        The errors on the test frames.
    """
    features, targets = train[0].double(), train[1].double()
    mean, std = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    features, offset = (features - mean) / std, targets.mean(dim=0)
    cut = round((1 - validation_fraction) * len(features))

    def error(penalty: float) -> float:
        weights = ridge(features[:cut], targets[:cut] - offset, penalty)
        return (features[cut:] @ weights + offset - targets[cut:]).norm(dim=1).mean().item()

    penalty = min(PENALTIES, key=error)
    weights = ridge(features, targets - offset, penalty)
    predicted = (test[0].double() - mean) / std @ weights + offset
    return ProbeResult((predicted - test[1].double()).norm(dim=1), penalty)
