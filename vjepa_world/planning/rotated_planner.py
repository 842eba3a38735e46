"""A planner whose planned motions are rotated about the vertical axis, to correct for a camera's pose.

Shapes: B problems, K horizon, A action size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from planners.protocols import Context, Plan, Planner, WorldModel
from vjepa_world.errors import VJEPAWorldError
from vjepa_world.planning.action_axes import space_of


class PlanningError(VJEPAWorldError):
    """A planner does not fit the model or the way in which it is used."""


class RotatedPlanner:
    """Rotates x and y of planned actions about the z axis of the base, and clips them to the model's bounds.

    It is the outermost wrapper of a planner: a warm start inside uses actions that are not rotated.

    Args:
        planner: The planner.
        angle_deg: Counter-clockwise seen from above, as `evaluation.open_loop.camera_rotation` measures it.
        model: The world model, whose bounds are kept.

    Raises:
        PlanningError: If the actions are not pose deltas.
    """

    def __init__(self, planner: Planner, angle_deg: float, model: WorldModel) -> None:
        if not space_of(model).is_pose:
            raise PlanningError(
                f"execution.camera_rotation_deg is {angle_deg:g}, and the model's actions have {len(model.action_low)} "
                "numbers, of which none is known to be x or y; leave it at 0."
            )
        self.planner = planner
        self.angle_deg = angle_deg
        self.model = model

    def reset(self) -> None:
        """Reset the planner."""
        self.planner.reset()

    def plan(
        self,
        context: Context,
        goal: Tensor,
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Plan:
        """Plan for B problems, then rotate the actions `[B, K, A]`; arguments as in `Planner`.

        The energy is that of the plan before the rotation.

        Raises:
            PlanningError: If there is a prefix, since actions being executed were rotated already.
        """
        if prefix is not None:
            raise PlanningError(
                "RotatedPlanner got a prefix of actions being executed, which were rotated already; it cannot plan in "
                "the background. Rotate the action that BackgroundPlanner returns instead."
            )
        plan = self.planner.plan(
            context, goal, generators=generators, deadline_s=deadline_s, warm_start=warm_start
        )
        turned = rotate_xy(plan.actions, self.angle_deg)
        return replace(plan, actions=torch.clamp(turned, self.model.action_low, self.model.action_high))


def rotate_xy(actions: Tensor, angle_deg: float) -> Tensor:
    """Return actions `[..., A]`, the same shape, with the first two numbers rotated by an angle, counter-clockwise."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    x, y = actions[..., 0], actions[..., 1]
    turned = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    return torch.cat([turned, actions[..., 2:]], dim=-1)
