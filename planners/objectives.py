"""What a planner minimises. Shapes as in `planners.protocols`."""

from __future__ import annotations

import torch
from torch import Tensor

from planners.errors import PlannerError


class GoalL1:
    r"""Mean absolute distance of the predicted features to the goal's.

    .. math:: E = \frac{\sum_{k=1}^{K} \gamma^{K-k} \, \frac{1}{ND} \lVert \hat z_k - z_g \rVert_1}
                       {\sum_{k=1}^{K} \gamma^{K-k}}

    With :math:`\gamma = 0`, the default, only the last step counts, as in V-JEPA 2-AC; with
    :math:`\gamma = 1` all steps count alike, which rewards arriving early.

    Args:
        discount: :math:`\gamma`, in [0, 1].

    Raises:
        PlannerError: If `discount` is outside [0, 1].

    Source:
        V-JEPA 2-AC (arXiv:2506.09985, section 4).
    """

    def __init__(self, discount: float = 0.0) -> None:
        if not 0.0 <= discount <= 1.0:
            raise PlannerError(
                f"GoalL1 got discount={discount}; it allows numbers from 0 (last step only) to 1 (all steps "
                "alike). Choose one in that range."
            )
        self.discount = discount

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Return energies `[B, S]`, float32.

        Args:
            predicted: `[B, S, K, N, D]`.
            goal: `[B, N, D]`.
            actions: `[B, S, K, A]`, not used by this objective.

        Raises:
            PlannerError: If the shapes do not belong together.
        """
        if predicted.ndim != 5 or goal.shape != (predicted.shape[0], *predicted.shape[3:]):
            raise PlannerError(
                f"GoalL1 got predictions of shape {tuple(predicted.shape)} and a goal of shape "
                f"{tuple(goal.shape)}; it allows [B, S, K, N, D] and [B, N, D] of the same B, N and D. "
                "Encode the goal with the world model that makes the predictions."
            )
        # One problem at a time: a reduction over the whole batch may add in an order that depends on B.
        return torch.stack([self._energy(p, g) for p, g in zip(predicted, goal, strict=True)])

    def _energy(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """`[S, K, N, D]` and `[N, D]` to `[S]`."""
        if self.discount == 0.0:
            predicted = predicted[:, -1:]
        steps = predicted.shape[1]
        distance = (predicted.float() - goal.float()).abs_().flatten(2).mean(dim=2)
        weights = torch.tensor(
            [self.discount ** (steps - 1 - k) for k in range(steps)], device=distance.device
        )
        return (distance * weights).sum(dim=1) / weights.sum()
