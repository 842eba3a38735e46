"""What a planner minimises of the imagined robot states. Shapes as in `planners.protocols`."""

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
    check_size,
    counted,
    length,
    per_problem,
    read_discount,
    read_norm,
    read_numbers,
    read_weights,
    step_weights,
    weighted_mean,
    wide,
)
from planners.errors import PlannerError


class StateGoal(Composable):
    r"""Distance of the imagined robot state to a wanted one, in the units of the state.

    .. math:: E = \frac{\sum_{k=1}^{K} \gamma^{K-k} \lVert w \circ (\hat s_k - s^*) \rVert}
                       {\sum_{k=1}^{K} \gamma^{K-k}}

    The world model must imagine states (`rollout_with_states`). The difference of an angle is taken the short way
    round, in [-pi, pi].

    Args:
        goal_state: :math:`s^*`, `[P]`, or `[B, P]` for the problems of one batch; finite.
        weights: :math:`w`, `[P]`, finite, at least 0, not all 0; an entry of weight 0 is not looked at. Metres and
            radians are made comparable here.
        norm: "l1" or "l2".
        discount: :math:`\gamma`, in [0, 1]: 0 for the last step only, 1 for all steps alike.
        angles: Places of the entries that are angles [rad], counted from 0.

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
        self._places = torch.nonzero(every).flatten()
        self._weights = every[self._places]
        self._is_angle = torch.tensor([int(place) in self.angles for place in self._places])

    def __call__(
        self, predicted: Tensor, goal: Tensor, actions: Tensor, *, states: Tensor | None = None
    ) -> Tensor:
        """Return energies `[B, S]`, float32; float64 of states in float64.

        Args:
            predicted: `[B, S, K, N, D]`, not used by this energy.
            goal: `[B, N, D]`, not used either.
            actions: `[B, S, K, A]`.
            states: As imagined, `[B, S, K, P]`.

        Raises:
            PlannerError: If there are no states, or of another size or batch than the wanted one.
        """
        states = self._checked(states, actions)
        wanted = per_problem("StateGoal", "goal_state", self.goal_state, states)
        ahead = counted(states, self.discount)
        steps = step_weights(self.discount, ahead.shape[2], ahead.device)
        problems = zip(ahead, wanted, strict=True)  # one at a time, as in planners.energies.goal
        return torch.stack([weighted_mean(self._distance(*problem), steps) for problem in problems])

    def _distance(self, states: Tensor, wanted: Tensor) -> Tensor:
        """`[S, K, P]` and `[P]` to `[S, K]`."""
        places, is_angle = self._places.to(states.device), self._is_angle.to(states.device)
        apart = wide(states[..., places]) - wanted[places]
        turns = torch.where(is_angle, torch.round(apart / math.tau), 0.0)
        return length(apart - math.tau * turns, self.norm, self._weights)

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
    places = tuple(angles)
    whole = all(isinstance(a, int) and not isinstance(a, bool) and 0 <= a < size for a in places)
    if not whole or len(set(places)) != len(places):
        raise PlannerError(
            f"StateGoal got angles={places} for a state of {size} numbers; it allows different whole numbers from 0 to "
            f"{size - 1}. Name the entries that are angles."
        )
    return places
