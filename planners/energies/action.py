"""Energies of the actions: their size, and their change between steps. Shapes as in `planners.protocols`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from planners.energies.composition import Composable
from planners.energies.weights import (
    Norm,
    Numbers,
    at_least_float32,
    check_size,
    length,
    read_norm,
    read_numbers,
    read_weights,
)
from planners.errors import PlannerError


class _ActionEnergy(Composable):
    """Base class of energies that depend on the actions only.

    Args:
        weights: As in `ActionPenalty`.
        norm: As in `ActionPenalty`.
    """

    def __init__(self, weights: Numbers | None = None, norm: Norm = "l2") -> None:
        self.weights = read_weights(type(self).__name__, weights, ("[A]",))
        self.norm = read_norm(type(self).__name__, norm)

    @abstractmethod
    def _sizes(self, actions: Tensor) -> Tensor:
        """Return the sizes `[S, *]` of actions `[S, K, A]`, which are averaged over the last axis."""

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Return energies `[B, S]`, float32, or float64 for actions in float64.

        Args:
            predicted: `[B, S, K, N, D]`, not used.
            goal: `[B, N, D]`, not used.
            actions: `[B, S, K, A]`.

        Raises:
            PlannerError: If the actions have another shape, or another size than the weights or the target.
        """
        self._check(actions)
        # One problem at a time, as in planners.energies.goal.
        return torch.stack([self._mean(at_least_float32(problem)) for problem in actions])

    def _mean(self, actions: Tensor) -> Tensor:
        sizes = self._sizes(actions)
        return sizes.sum(dim=1) / max(sizes.shape[1], 1)

    def _check(self, actions: Tensor) -> None:
        name = type(self).__name__
        if actions.ndim != 4:
            raise PlannerError(
                f"{name} got actions of shape {tuple(actions.shape)}; it allows [B, S, K, A]. Add the missing "
                "axes."
            )
        check_size(name, "weights", self.weights, actions.shape[3], "action axes")

    def _settings(self) -> Mapping[str, Any]:
        return {"weights": self.weights, "norm": self.norm}


class ActionPenalty(_ActionEnergy):
    r"""Mean size of the actions, in their own units.

    .. math:: E = \frac{1}{K} \sum_{k=1}^{K} \lVert w \circ (a_k - a^*) \rVert

    Args:
        weights: :math:`w`, `[A]`, finite, at least 0, not all 0. They make metres and radians comparable.
        norm: "l2" or "l1".
        target: :math:`a^*`, `[A]`, the action of energy 0; None for zeros.

    Raises:
        PlannerError: If an argument is not allowed.
    """

    def __init__(
        self, weights: Numbers | None = None, norm: Norm = "l2", target: Numbers | None = None
    ) -> None:
        super().__init__(weights, norm)
        self.target = None if target is None else read_numbers("ActionPenalty", "target", target, ("[A]",))
        if self.target is not None:
            check_size("ActionPenalty", "weights", self.weights, len(self.target), "target entries")

    def _sizes(self, actions: Tensor) -> Tensor:
        away = actions if self.target is None else actions - self.target.to(actions.device)
        return length(away, self.norm, self.weights)

    def _check(self, actions: Tensor) -> None:
        super()._check(actions)
        check_size("ActionPenalty", "target", self.target, actions.shape[3], "action axes")

    def _settings(self) -> Mapping[str, Any]:
        return {**super()._settings(), "target": self.target}


class Smoothness(_ActionEnergy):
    r"""Mean change from one action of the plan to the next; 0 for a single action.

    .. math:: E = \frac{1}{K - 1} \sum_{k=2}^{K} \lVert w \circ (a_k - a_{k-1}) \rVert

    Args:
        weights: :math:`w`, as in `ActionPenalty`.
        norm: "l2" or "l1".

    Raises:
        PlannerError: If an argument is not allowed.
    """

    def _sizes(self, actions: Tensor) -> Tensor:
        return length(actions[:, 1:] - actions[:, :-1], self.norm, self.weights)
