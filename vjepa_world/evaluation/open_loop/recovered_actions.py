"""Whether a planner finds the action that was taken, from the frame before it and the one after.

Legend: W windows, A action size, K horizon.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from vjepa_world.evaluation.action_axes import POSITION, ROTATION, ActionSpace, action_space, rotation_angle
from vjepa_world.evaluation.bootstrap import median
from vjepa_world.evaluation.closed_loop.policies import PlannerLike
from vjepa_world.evaluation.open_loop.prediction_error import ImaginingModel, Tick, Windows
from vjepa_world.evaluation.statistics import percentiles

#: Percentiles of the errors that are reported.
PERCENTILES = (10, 25, 50, 75, 90)


@dataclass(frozen=True, eq=False)
class Recovered:
    """The first action of each window, and what stands for it, `[W, A]` each.

    Attributes:
        true: What was done.
        planned: What the planner finds, from the first frame to the second.
        random: Uniform in the model's bounds.
        hold: No motion: zeros for changes, where the robot is for targets; None where nobody knows.
        space: What the actions are.
    """

    true: Tensor
    planned: Tensor
    random: Tensor
    hold: Tensor | None
    space: ActionSpace


@torch.no_grad()
def recover_actions(
    model: ImaginingModel,
    planner: PlannerLike,
    windows: Windows,
    *,
    generator: Generator,
    batch: int = 16,
    tick: Tick = lambda count: None,
) -> Recovered:
    """Plan one step from each window's first frame to its second one.

    Each window is a problem with a generator of its own, so that no plan depends on what is planned beside it.

    Args:
        model: What the planner plans with.
        planner: Plans at least one step; the first one counts.
        windows: Where.
        generator: Draws the random actions and each problem's seed.
        batch: Problems planned together.
        tick: Told of progress.
    """
    device = model.action_low.device
    seeds = torch.randint(2**62, (len(windows),), generator=generator).tolist()
    low, high = model.action_low.float().cpu(), model.action_high.float().cpu()
    random = low + (high - low) * torch.rand(len(windows), len(low), generator=generator)
    planned = []
    for places in windows.batches(batch):
        planner.reset()
        plan = planner.plan(
            windows.context(places, device),
            windows.features[places, 1].to(device),
            generators=[Generator().manual_seed(seeds[place]) for place in places.tolist()],
        )
        planned.append(plan.actions[:, 0].float().cpu())
        tick(len(places))
    planner.reset()
    space = windows.action_space
    return Recovered(
        windows.actions[:, 0].clone(), torch.cat(planned), random, space.hold(windows.states[:, 0]), space
    )


def action_errors(true: Tensor, guessed: Tensor, space: ActionSpace | None = None) -> dict[str, Tensor]:
    """Return the errors of actions `[W, A]` by what they are of, `[W]` each.

    Pose deltas have `position_cm`, `rotation_deg` (the angle of the rotation between the two) and `gripper`; other
    actions `distance`, in their own units, and what has named axes, as joints have, the error of each.
    """
    space = space or action_space(true.shape[1])
    if not space.is_pose:
        apart = guessed - true
        by_axis = (
            {axis.label: apart[:, k].abs() for k, axis in enumerate(space.axes)} if space.is_named else {}
        )
        return {"distance": apart.norm(dim=1), **by_axis}
    turned = rotation_angle(true[:, ROTATION], guessed[:, ROTATION])
    return {
        "position_cm": 100 * (guessed - true)[:, POSITION].norm(dim=1),
        "rotation_deg": turned * (180 / math.pi),
        "gripper": (guessed - true)[:, 6].abs(),
    }


def recovered_figures(
    recovered: Recovered, episodes: np.ndarray, rng: np.random.Generator
) -> dict[str, dict[str, Any]]:
    """Return the errors' medians with 95 % intervals over episodes and percentiles, by who guesses and by kind.

    Who guesses: the planner, chance (`random_action`), and no motion (`hold`), where it is known what that is.
    """
    guesses = {
        "planner": recovered.planned,
        "random_action": recovered.random,
    }
    if recovered.hold is not None:
        guesses["hold"] = recovered.hold
    return {
        who: {
            kind: _summary(errors.double().numpy(), episodes, rng)
            for kind, errors in action_errors(recovered.true, guess, recovered.space).items()
        }
        for who, guess in guesses.items()
    }


def _summary(errors: np.ndarray, episodes: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    found = median(errors, episodes, rng)
    values = percentiles(errors.tolist(), PERCENTILES)
    return {
        "median": found.value,
        "interval": [found.low, found.high],
        "percentiles": {str(at): value for at, value in zip(PERCENTILES, values, strict=True)},
    }
