"""Recovered actions: whether a planner finds the true action from the frame before it and the frame after it.

Legend: W windows, A action size, K horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from planners.protocols import Planner
from vjepa_world.evaluation.open_loop.drawn_actions import draw_actions
from vjepa_world.evaluation.open_loop.protocols import Progress, RolloutModel, no_progress
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.evaluation.statistics import median, percentiles
from vjepa_world.planning.action_axes import POSITION, ROTATION, ActionSpace, action_space, rotation_angle

#: Percentiles of the errors that are reported.
PERCENTILES = (10, 25, 50, 75, 90)


@dataclass(frozen=True, eq=False)
class RecoveredActions:
    """The first action of each window, that of the planner and those of the baselines, `[W, A]` each.

    Attributes:
        true: The recorded action.
        planned: The planner's action from the first frame to the second.
        random: Drawn within the model's bounds.
        hold: No motion: zeros for deltas, the current state for targets; None if it is not known.
        space: The action space.
    """

    true: Tensor
    planned: Tensor
    random: Tensor
    hold: Tensor | None
    space: ActionSpace


@torch.no_grad()
def recover_actions(
    model: RolloutModel,
    planner: Planner,
    windows: Windows,
    *,
    generator: Generator,
    batch: int = 16,
    progress: Progress = no_progress,
) -> RecoveredActions:
    """Plan one step from the first frame of each window to its second one.

    Each window is a problem with its own generator, so that no plan depends on its batch.

    Args:
        model: The world model of the planner.
        planner: Plans at least one step; the first one is compared.
        windows: The windows.
        generator: Draws the random actions and the seed of each problem.
        batch: Problems in one batch.
        progress: Called with the number of windows of each batch.
    """
    device = model.action_low.device
    seeds = torch.randint(2**62, (len(windows),), generator=generator).tolist()
    low, high = model.action_low.float().cpu(), model.action_high.float().cpu()
    random = draw_actions(low, high, (len(windows),), windows.action_space, generator=generator)
    planned = []
    for indices in windows.batches(batch):
        planner.reset()
        plan = planner.plan(
            windows.context(indices, device),
            windows.features[indices, 1].to(device),
            generators=[Generator().manual_seed(seeds[index]) for index in indices.tolist()],
        )
        planned.append(plan.actions[:, 0].float().cpu())
        progress(len(indices))
    planner.reset()
    space = windows.action_space
    return RecoveredActions(
        windows.actions[:, 0].clone(), torch.cat(planned), random, space.hold(windows.states[:, 0]), space
    )


def action_errors(true: Tensor, guessed: Tensor, space: ActionSpace | None = None) -> dict[str, Tensor]:
    """Return the errors of actions by kind.

    Pose deltas have `position_cm`, `rotation_deg` (the angle between the two rotations) and `gripper`. Other actions
    have `distance`, in their own units, and the error of each axis that has a name.

    Args:
        true: True actions, `[W, A]`.
        guessed: The actions that are compared with them, `[W, A]`.
        space: The action space; None derives it from A.

    Returns:
        Errors by kind, `[W]` each.
    """
    space = space or action_space(true.shape[1])
    if not space.is_pose:
        error = guessed - true
        by_axis = (
            {axis.label: error[:, k].abs() for k, axis in enumerate(space.axes)} if space.is_named else {}
        )
        return {"distance": error.norm(dim=1), **by_axis}
    turned = rotation_angle(true[:, ROTATION], guessed[:, ROTATION])
    return {
        "position_cm": 100 * (guessed - true)[:, POSITION].norm(dim=1),
        "rotation_deg": turned * (180 / math.pi),
        "gripper": (guessed - true)[:, 6].abs(),
    }


def recovered_metrics(
    recovered: RecoveredActions, episodes: np.ndarray, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Return the medians of the errors with 95 % intervals over `episodes [W]`, and their percentiles, ready for JSON.

    They are given for the planner, for random actions (`random_action`) and for no motion (`hold`, if it is known).
    """
    guesses = {
        "planner": recovered.planned,
        "random_action": recovered.random,
    }
    if recovered.hold is not None:
        guesses["hold"] = recovered.hold
    return {
        name: {
            kind: _summary(errors.double().numpy(), episodes, rng)
            for kind, errors in action_errors(recovered.true, guess, recovered.space).items()
        }
        for name, guess in guesses.items()
    }


def _summary(errors: np.ndarray, episodes: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    found = median(errors, episodes, rng)
    values = percentiles(errors.tolist(), PERCENTILES)
    return {
        "median": found.value,
        "interval": [found.low, found.high],
        "percentiles": {str(at): value for at, value in zip(PERCENTILES, values, strict=True)},
    }
