"""Energies of the features: their distance to the goal's features. Shapes as in `planners.protocols`.

Energies can be added, and multiplied by a number of at least 0:

energy = GoalL1() + 0.1 * Smoothness() + 2 * StateGoal(wanted_state)
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from planners.config import GoalEnergyConfig
from planners.energies.composition import Composable
from planners.energies.weights import (
    Numbers,
    at_least_float32,
    check_size,
    per_problem,
    read_discount,
    read_weights,
    step_weights,
    weighted_mean,
    weighted_steps,
)
from planners.errors import PlannerError


class _Goal(Composable):
    """Base class of distances to a goal's features: the means over steps and patches.

    Args:
        discount: As in `GoalL1`.
        weights: As in `GoalL1`.
    """

    def __init__(self, discount: float = GoalEnergyConfig.discount, weights: Numbers | None = None) -> None:
        self.discount = read_discount(type(self).__name__, discount)
        self.weights = read_weights(type(self).__name__, weights, ("[N]", "[B, N]"))

    @abstractmethod
    def _elementwise(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Return `[S, K, N, *]` for `[S, K, N, D]` and `[N, D]`; a patch's distance is the mean over the last axis."""

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Return energies `[B, S]`, float32, or float64 for predictions in float64.

        Args:
            predicted: `[B, S, K, N, D]`.
            goal: `[B, N, D]`.
            actions: `[B, S, K, A]`, not used.

        Raises:
            PlannerError: If the shapes do not match, or the weights are for another number of patches or problems.
        """
        self._check(predicted, goal)
        predicted = weighted_steps(predicted, self.discount)
        steps = step_weights(self.discount, predicted.shape[2], predicted.device)
        weights = self._patch_weights(predicted)
        # One problem at a time: a reduction over the whole batch may add in an order that depends on B.
        problems = zip(predicted, goal, weights, strict=True)
        return at_least_float32(
            torch.stack([weighted_mean(self._distance(*problem), steps) for problem in problems])
        )

    def _distance(self, predicted: Tensor, goal: Tensor, weights: Tensor | None) -> Tensor:
        """Return the distances `[S, K]` of predictions `[S, K, N, D]` to a goal `[N, D]`, with weights `[N]`."""
        distances = self._elementwise(predicted, goal)
        if weights is None:
            return distances.flatten(2).mean(dim=2)
        return weighted_mean(distances.mean(dim=3), weights)

    def _patch_weights(self, predicted: Tensor) -> Sequence[Tensor | None]:
        """Return each problem's weights of patches `[N]`, or None for equal ones."""
        name = type(self).__name__
        if self.weights is None:
            return (None,) * len(predicted)
        check_size(name, "weights", self.weights, predicted.shape[3], "patches")
        return per_problem(name, "weights", self.weights, predicted)

    def _check(self, predicted: Tensor, goal: Tensor) -> None:
        if predicted.ndim != 5 or goal.shape != (predicted.shape[0], *predicted.shape[3:]):
            raise PlannerError(
                f"{type(self).__name__} got predictions of shape {tuple(predicted.shape)} and a goal of shape "
                f"{tuple(goal.shape)}; it allows [B, S, K, N, D] and [B, N, D] of the same B, N and D. "
                "Encode the goal with the world model that makes the predictions."
            )

    def _settings(self) -> Mapping[str, Any]:
        return {"discount": self.discount, "weights": self.weights}


class GoalL1(_Goal):
    r"""Mean absolute distance of the predicted features to the goal's.

    .. math:: E = \frac{\sum_{k=1}^{K} \gamma^{K-k} \sum_{n=1}^{N} w_n
                        \frac{1}{D} \lVert \hat z_{kn} - z_{gn} \rVert_1}
                       {\sum_{k=1}^{K} \gamma^{K-k} \sum_{n=1}^{N} w_n}

    With :math:`\gamma = 0`, the default, only the last step counts, as in V-JEPA 2-AC; with
    :math:`\gamma = 1` all steps count alike, which rewards early arrival.

    Args:
        discount: :math:`\gamma`, in [0, 1].
        weights: :math:`w`, the weight of each patch: `[N]`, or `[B, N]` for the problems of one batch; finite, at
            least 0, not all 0. None for equal weights.

    Raises:
        PlannerError: If an argument is not allowed.

    Source:
        V-JEPA 2-AC (arXiv:2506.09985, section 4).
    """

    def _elementwise(self, predicted: Tensor, goal: Tensor) -> Tensor:
        return _difference(predicted, goal).abs_()


class GoalL2(_Goal):
    r"""Mean squared distance of the predicted features to the goal's.

    .. math:: E = \frac{\sum_k \gamma^{K-k} \sum_n w_n \frac{1}{D} \lVert \hat z_{kn} - z_{gn} \rVert_2^2}
                       {\sum_k \gamma^{K-k} \sum_n w_n}

    Args:
        discount: :math:`\gamma`, as in `GoalL1`.
        weights: :math:`w`, as in `GoalL1`.

    Raises:
        PlannerError: If an argument is not allowed.

    Source:
        DINO-WM (arXiv:2411.04983, section 3).
    """

    def _elementwise(self, predicted: Tensor, goal: Tensor) -> Tensor:
        return _difference(predicted, goal).square_()


class GoalCosine(_Goal):
    r"""Mean cosine distance of the predicted features to the goal's: 0 for the same direction, 2 for the opposite.

    .. math:: E = \frac{\sum_k \gamma^{K-k} \sum_n w_n (1 - \cos(\hat z_{kn}, z_{gn}))}
                       {\sum_k \gamma^{K-k} \sum_n w_n}

    It is computed as :math:`1 - \cos = \frac{1}{2} \lVert \hat z / |\hat z| - z_g / |z_g| \rVert_2^2`, which is
    exact for small angles. A token of zeros has no direction, and counts like one at a right angle.

    Args:
        discount: :math:`\gamma`, as in `GoalL1`.
        weights: :math:`w`, as in `GoalL1`.

    Raises:
        PlannerError: If an argument is not allowed.
    """

    def _elementwise(self, predicted: Tensor, goal: Tensor) -> Tensor:
        ahead, ahead_is_zero = _direction(at_least_float32(predicted))
        wanted, wanted_is_zero = _direction(at_least_float32(goal))
        squared = (ahead - wanted).square_().sum(dim=-1, keepdim=True)
        return (squared + ahead_is_zero + wanted_is_zero) / 2


def _difference(predicted: Tensor, goal: Tensor) -> Tensor:
    """Return the difference `[S, K, N, D]` as a new tensor; half precision is converted during the subtraction."""
    return predicted - at_least_float32(goal)


def _direction(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return features `[..., D]` of unit length, and a mask `[..., 1]` of zero vectors, which stay zero."""
    size = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    is_zero = size == 0
    return features / torch.where(is_zero, 1.0, size), is_zero
