"""Everything that an open loop says of a model, in one go: the figures, and what the report draws them from.

Legend: W windows, A action size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vjepa_world.evaluation.action_axes import POSITION
from vjepa_world.evaluation.bootstrap import mean, median
from vjepa_world.evaluation.closed_loop.policies import ObjectiveLike, PlannerLike
from vjepa_world.evaluation.open_loop.camera_rotation import CameraRotation, fit_rotation
from vjepa_world.evaluation.open_loop.config import OpenLoopConfig
from vjepa_world.evaluation.open_loop.energy_landscape import (
    AxisLandscape,
    Energy,
    RankCorrelations,
    axis_landscapes,
    free_axes,
    rank_correlations,
)
from vjepa_world.evaluation.open_loop.prediction_error import (
    HorizonErrors,
    ImaginingModel,
    Tick,
    Windows,
    horizon_figures,
    open_loop,
)
from vjepa_world.evaluation.open_loop.recovered_actions import Recovered, recover_actions, recovered_figures

#: Opens a progress bar: what is done, and how many windows there are to do.
Progress = Callable[[str, int], Tick]


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was found.

    Attributes:
        figures: Ready for JSON: horizons, rank_correlation, valley_offset, recovered (with `left_out`: which baselines
            are not there, and why), camera_rotation, outside_bounds, episodes.
        errors: By window and horizon.
        ranks: By window.
        landscapes: Along each axis that varies.
        recovered: The planner's actions beside the true ones.
        rotation: None where actions are no pose deltas, or nothing moves in x and y.
    """

    figures: dict[str, Any]
    errors: HorizonErrors
    ranks: RankCorrelations
    landscapes: list[AxisLandscape]
    recovered: Recovered
    rotation: CameraRotation | None


def judge(
    model: ImaginingModel,
    planner: PlannerLike,
    objective: ObjectiveLike,
    windows: Windows,
    config: OpenLoopConfig,
    *,
    seed: int,
    progress: Progress = lambda what, total: lambda count: None,
) -> Judgement:
    """Measure a model on windows; the same seed gives the same figures.

    Args:
        model: What imagines.
        planner: Plans with it, one step ahead.
        objective: The energy that the planner minimises.
        windows: Frames and true actions.
        config: What is measured.
        seed: Where all randomness comes from, each part's own.
        progress: Opens a progress bar.

    What cannot be measured, as where no true action lies within the bounds, is None in the figures.
    """
    generators = [torch.Generator().manual_seed(seed + k) for k in range(3)]
    count = len(windows)
    energy = Energy(model, objective, config.rollouts)
    axes = int(free_axes(energy, windows)[0].sum())
    together = max(config.rollouts // 16, 1)
    errors = open_loop(
        model,
        windows,
        generator=generators[0],
        motion_share=config.motion_share,
        batch=together,
        tick=progress("rolling out", 2 * count),
    )
    ranks = rank_correlations(
        energy,
        windows,
        samples=config.samples,
        generator=generators[1],
        tick=progress("ranking actions", count * (2 if windows.action_space.is_pose else 1)),
    )
    landscapes = axis_landscapes(
        energy, windows, points=config.points, tick=progress("landscapes", count * (1 + axes))
    )
    recovered = recover_actions(
        model,
        planner,
        windows,
        generator=generators[2],
        batch=max(config.rollouts // 64, 1),
        tick=progress("planning", count),
    )
    rng = np.random.default_rng(seed)
    rotation = _rotation(recovered, windows, rng)
    figures = _figures(errors, ranks, landscapes, recovered, windows, rng)
    figures["camera_rotation"] = None if rotation is None else rotation.as_json()
    figures |= _outside(energy, windows)
    figures["episodes"] = len(windows.episodes.unique())
    return Judgement(figures, errors, ranks, landscapes, recovered, rotation)


def _figures(
    errors: HorizonErrors,
    ranks: RankCorrelations,
    landscapes: list[AxisLandscape],
    recovered: Recovered,
    windows: Windows,
    rng: np.random.Generator,
) -> dict[str, Any]:
    episodes = windows.episodes.numpy()
    axes = windows.action_space.axes
    position = None if ranks.position is None else mean(ranks.position.numpy(), episodes, rng).as_json()
    return {
        "horizons": horizon_figures(errors, episodes, rng),
        "rank_correlation": {
            "position": position,
            "all_axes": None
            if ranks.all_axes is None
            else mean(ranks.all_axes.numpy(), episodes, rng).as_json(),
            "by_axis": {
                axes[found.axis].name: mean(found.rank_correlation().numpy(), episodes, rng).as_json()
                for found in landscapes
            },
        },
        "valley_offset": {
            axes[found.axis].name: {
                "unit": axes[found.axis].unit,
                "median": median(_offsets(found, axes[found.axis].scale), episodes, rng).as_json(),
                "absolute_median": float(np.median(np.abs(_offsets(found, axes[found.axis].scale)))),
            }
            for found in landscapes
        },
        "recovered": recovered_figures(recovered, episodes, rng),
        "left_out": {} if recovered.hold is not None else {"hold": windows.action_space.why_no_hold},
    }


def _offsets(found: AxisLandscape, scale: float) -> np.ndarray:
    return found.valley_offset().double().numpy() * scale


def _rotation(recovered: Recovered, windows: Windows, rng: np.random.Generator) -> CameraRotation | None:
    planned, true = recovered.planned, recovered.true
    if not windows.action_space.is_pose or not planned[:, :2].any() or not true[:, :2].any():
        return None
    return fit_rotation(
        planned[:, POSITION].numpy(), true[:, POSITION].numpy(), windows.episodes.numpy(), rng
    )


def _outside(energy: Energy, windows: Windows) -> dict[str, Any]:
    """Return the share of true first actions that no planner can find, as they are outside of the model's bounds.

    And the same for each axis that has some.
    """
    low, high = energy.bounds()
    first = windows.actions[:, 0]
    # Bounds are the least and largest of training, in float32.
    outside = (first < low - 1e-5) | (first > high + 1e-5)
    shares = outside.double().mean(dim=0).tolist()
    return {
        "outside_bounds": float(outside.any(dim=1).double().mean()),
        "outside_bounds_by_axis": {
            axis.name: share for axis, share in zip(windows.action_space.axes, shares, strict=True) if share
        },
    }
