"""Ridge regression on frozen features: linear probes in closed form.

Legend: M frames or clips, F features, K outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: Ridge penalties tried, as shares of the mean eigenvalue of the features' covariance.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class ProbeResult:
    """Errors of a probe on held-out frames.

    Attributes:
        errors: `[M]`: Euclidean, in the target's unit; of classes 1 if wrong and 0 if right.
        penalty: The ridge penalty that was chosen.
    """

    errors: Tensor
    penalty: float

    @property
    def mean(self) -> float:
        """Mean error."""
        return self.errors.mean().item()

    @property
    def median(self) -> float:
        """Median error."""
        return self.errors.median().item()


def ridge(features: Tensor, targets: Tensor, penalty: float) -> Tensor:
    r"""Return :math:`W = (X^\top X + \lambda \bar\sigma I)^{-1} X^\top Y`, in the dual form where that is smaller.

    Args:
        features: `X [M, F]`, centred.
        targets: `Y [M, K]`, centred.
        penalty: :math:`\lambda`, in units of the mean eigenvalue :math:`\bar\sigma`.

    Returns:
        `[F, K]`; zeros if the features do not vary, as those of a collapsed encoder.
    """
    samples, width = features.shape
    scale = (penalty * features.square().sum() / width).clamp_min(1e-12)
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
    """Fit a ridge regression and evaluate it on held-out frames.

    The penalty is chosen on the last training frames, never on the test frames.

    Args:
        train: Features `[M, F]` and targets `[M, K]`; the last frames should be episodes of their own.
        test: The same, of held-out scenes.
        validation_fraction: Share of the training frames that chooses the penalty.

    Returns:
        The errors on the test frames.
    """

    def euclidean(predicted: Tensor, targets: Tensor) -> Tensor:
        return (predicted - targets).norm(dim=1)

    return _fit_and_measure(train, test, euclidean, validation_fraction)


def linear_classifier(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, validation_fraction: float = 0.2
) -> ProbeResult:
    """Fit a ridge regression to one-hot classes; the largest output is the predicted class.

    Args:
        train: Features `[M, F]` and classes `[M]` int64; see :func:`linear_probe`.
        test: The same, of held-out scenes.
        validation_fraction: Share of the training frames that chooses the penalty.

    Returns:
        Errors of 1 for each test frame whose class is wrong, else 0.
    """
    classes = int(max(train[1].max(), test[1].max())) + 1

    def one_hot(labels: Tensor) -> Tensor:
        return F.one_hot(labels, classes).double()

    def missed(predicted: Tensor, targets: Tensor) -> Tensor:
        return (predicted.argmax(dim=1) != targets.argmax(dim=1)).double()

    hot_train, hot_test = (train[0], one_hot(train[1])), (test[0], one_hot(test[1]))
    return _fit_and_measure(hot_train, hot_test, missed, validation_fraction)


def _fit_and_measure(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    errors: Callable[[Tensor, Tensor], Tensor],
    validation_fraction: float,
) -> ProbeResult:
    features, targets = train[0].double(), train[1].double()
    mean, std = features.mean(dim=0), features.std(dim=0).clamp_min(1e-6)
    features, offset = (features - mean) / std, targets.mean(dim=0)
    cut = round((1 - validation_fraction) * len(features))

    def error(penalty: float) -> float:
        weights = ridge(features[:cut], targets[:cut] - offset, penalty)
        return errors(features[cut:] @ weights + offset, targets[cut:]).mean().item()

    penalty = min(PENALTIES, key=error)
    weights = ridge(features, targets - offset, penalty)
    predicted = (test[0].double() - mean) / std @ weights + offset
    return ProbeResult(errors(predicted, test[1].double()), penalty)
