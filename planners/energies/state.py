"""The energy of the robot's state: its distance to a goal state. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    per_problem,
    read_discount,
    read_norm,
    read_numbers,
    read_weights,
    step_weights,
    weighted_mean,
    weighted_steps,
)
from planners.errors import PlannerError


class StateGoal(Composable):
    r"""Distance of the predicted robot state to a goal state, in the units of the state.

    .. math:: E = \frac{\sum_{k=1}^{K} \gamma^{K-k} \lVert w \circ (\hat s_k - s^*) \rVert}
                       {\sum_{k=1}^{K} \gamma^{K-k}}

    The world model must predict states (`rollout_with_states`). Differences of angles are wrapped to [-pi, pi].

    Args:
        goal_state: :math:`s^*`, `[P]`, or `[B, P]` for the problems of one batch; finite.
        weights: :math:`w`, `[P]`, finite, at least 0, not all 0; an entry of weight 0 is ignored. They make metres
            and radians comparable.
        norm: "l1" or "l2".
        discount: :math:`\gamma`, in [0, 1]: 0 for the last step only, 1 for all steps alike.
        angles: Indices of the entries that are angles [rad].

    Raises:
        PlannerError: If an argument is not allowed.
    """

    needs_states = True

    def __init__(
        self,
        goal_state: Numbers,
        *,
        weights: Numbers | None = None,
        norm: Norm = "l1",
        discount: float = 0.0,
        angles: Sequence[int] = (),
    ) -> None:
        self.goal_state = read_numbers("StateGoal", "goal_state", goal_state, ("[P]", "[B, P]"))
        size = self.goal_state.shape[-1]
        self.weights = read_weights("StateGoal", weights, ("[P]",))
        check_size("StateGoal", "weights", self.weights, size, "state entries")
        self.norm = read_norm("StateGoal", norm)
        self.discount = read_discount("StateGoal", discount)
        self.angles = _check_angles(angles, size)
        every = torch.ones(size) if self.weights is None else self.weights
        self._indices = torch.nonzero(every).flatten()
        self._weights = every[self._indices]
        self._is_angle = torch.tensor([int(index) in self.angles for index in self._indices])

    def __call__(
        self, predicted: Tensor, goal: Tensor, actions: Tensor, *, states: Tensor | None = None
    ) -> Tensor:
        """Return energies `[B, S]`, float32, or float64 for states in float64.

        Args:
            predicted: `[B, S, K, N, D]`, not used.
            goal: `[B, N, D]`, not used.
            actions: `[B, S, K, A]`.
            states: Predicted states, `[B, S, K, P]`.

        Raises:
            PlannerError: If there are no states, or they have another size or batch than the goal state.
        """
        states = self._checked(states, actions)
        wanted = per_problem("StateGoal", "goal_state", self.goal_state, states)
        ahead = weighted_steps(states, self.discount)
        steps = step_weights(self.discount, ahead.shape[2], ahead.device)
        problems = zip(ahead, wanted, strict=True)  # one at a time, as in planners.energies.goal
        return torch.stack([weighted_mean(self._distance(*problem), steps) for problem in problems])

    def _distance(self, states: Tensor, wanted: Tensor) -> Tensor:
        """Return the distances `[S, K]` of states `[S, K, P]` to a goal state `[P]`."""
        indices, is_angle = self._indices.to(states.device), self._is_angle.to(states.device)
        error = at_least_float32(states[..., indices]) - wanted[indices]
        turns = torch.where(is_angle, torch.round(error / math.tau), 0.0)
        return length(error - math.tau * turns, self.norm, self._weights)

    def _checked(self, states: Tensor | None, actions: Tensor) -> Tensor:
        size = self.goal_state.shape[-1]
        if states is None or states.ndim != 4 or states.shape != (*actions.shape[:3], size):
            got = "no states" if states is None else f"states of shape {tuple(states.shape)}"
            raise PlannerError(
                f"StateGoal got {got} for actions of shape {tuple(actions.shape)}; it allows [B, S, K, P] with the "
                f"actions' B, S and K and P={size}, as goal_state has. Use a world model whose rollout_with_states "
                "imagines the whole state, and give goal_state in the same layout."
            )
        return states

    def _settings(self) -> Mapping[str, Any]:
        return {
            "goal_state": self.goal_state,
            "weights": self.weights,
            "norm": self.norm,
            "discount": self.discount,
            "angles": self.angles or None,
        }


def _check_angles(angles: Sequence[int], size: int) -> tuple[int, ...]:
    indices = tuple(angles)
    whole = all(isinstance(a, int) and not isinstance(a, bool) and 0 <= a < size for a in indices)
    if not whole or len(set(indices)) != len(indices):
        raise PlannerError(
            f"StateGoal got angles={indices} for a state of {size} numbers; it allows different whole numbers from "
            f"0 to {size - 1}. Name the entries that are angles."
        )
    return indices
