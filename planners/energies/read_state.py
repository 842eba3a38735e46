"""The energy of a robot's state where the goal state is not given but read from the goal image.

Shapes as in `planners.protocols`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from planners.energies.composition import Composable
from planners.energies.state import StateGoal
from planners.energies.weights import Norm, Numbers
from planners.errors import PlannerError
from planners.protocols import Context


class ReadStateGoal(Composable):
    """Distance of the predicted robot state to the state that a model reads from the goal's features.

    The state is read once for each call of a planner; the distance is then that of :class:`StateGoal`.

    Args:
        read: Returns the goal states `[B, P]` for a context of B problems and their goals `[B, N, D]`.
        weights: As in `StateGoal`.
        norm: As in `StateGoal`.
        discount: As in `StateGoal`.
        angles: As in `StateGoal`.
    """

    needs_states = True
    needs_problems = True

    def __init__(
        self,
        read: Callable[[Context, Tensor], Tensor],
        *,
        weights: Numbers | None = None,
        norm: Norm = "l1",
        discount: float = 0.0,
        angles: Sequence[int] = (),
    ) -> None:
        self.read = read
        self.options: dict[str, Any] = {
            "weights": weights,
            "norm": norm,
            "discount": discount,
            "angles": tuple(angles),
        }

    def for_problems(self, context: Context, goal: Tensor) -> StateGoal:
        """Return the energy of B problems, whose goal states are read from their goals `[B, N, D]`.

        Raises:
            PlannerError: If an option does not fit the state.
        """
        return StateGoal(self.read(context, goal), **self.options)

    def __call__(
        self, predicted: Tensor, goal: Tensor, actions: Tensor, *, states: Tensor | None = None
    ) -> Tensor:
        """Refuse: the goal state depends on the problem.

        Raises:
            PlannerError: Always.
        """
        raise PlannerError(
            "ReadStateGoal was called before it knew the problems. Give it to a planner, or call what "
            "planners.energy_for(energy, context, goal) returns."
        )

    def _settings(self) -> Mapping[str, Any]:
        return self.options | {"angles": self.options["angles"] or None}
