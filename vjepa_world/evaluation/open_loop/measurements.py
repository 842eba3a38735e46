"""All measurements of an open-loop evaluation: the metrics, and the data that the report draws.

Legend: W windows, A action size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from planners.protocols import Energy, Planner
from vjepa_world.evaluation.open_loop.camera_rotation import CameraRotation, fit_rotation
from vjepa_world.evaluation.open_loop.config import OpenLoopConfig
from vjepa_world.evaluation.open_loop.energy_landscape import (
    AxisLandscape,
    RankCorrelations,
    WindowEnergy,
    axis_landscapes,
    rank_correlations,
    scanned_axes,
)
from vjepa_world.evaluation.open_loop.prediction_error import HorizonErrors, horizon_errors, horizon_metrics
from vjepa_world.evaluation.open_loop.protocols import ProgressBar, RolloutModel, no_progress
from vjepa_world.evaluation.open_loop.random_plans import random_plans
from vjepa_world.evaluation.open_loop.recovered_actions import (
    RecoveredActions,
    recover_actions,
    recovered_metrics,
)
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.evaluation.open_loop.worth import worth_metrics
from vjepa_world.evaluation.statistics import mean, median
from vjepa_world.planning.action_axes import POSITION


@dataclass(frozen=True, eq=False)
class Measurements:
    """The measurements of a model on windows.

    Attributes:
        metrics: Ready for JSON: horizons, rank_correlation, valley_offset, recovered, left_out (missing baselines with
            the reason), camera_rotation, outside_bounds, outside_bounds_by_axis, worth, episodes.
        errors: Prediction errors by window and horizon.
        ranks: Rank correlations by window.
        landscapes: Energy landscapes along each axis that varies.
        recovered: The planner's actions and the true ones.
        rotation: None if actions are not pose deltas, or nothing moves in x and y.
    """

    metrics: dict[str, Any]
    errors: HorizonErrors
    ranks: RankCorrelations
    landscapes: list[AxisLandscape]
    recovered: RecoveredActions
    rotation: CameraRotation | None


def measure(
    model: RolloutModel,
    planner: Planner,
    energy: Energy,
    windows: Windows,
    config: OpenLoopConfig,
    *,
    seed: int,
    progress_bar: ProgressBar = lambda task, total: no_progress,
) -> Measurements:
    """Measure a model on windows; the same seed gives the same metrics.

    Args:
        model: The world model.
        planner: Plans with it, one step ahead.
        energy: The energy that the planner minimises.
        windows: Features and true actions.
        config: What is measured.
        seed: Seeds an own generator for each measurement.
        progress_bar: Opens a progress bar.

    What cannot be measured, for example because no true action lies within the bounds, is None in the metrics.
    """
    generators = [torch.Generator().manual_seed(seed + k) for k in range(4)]
    count = len(windows)
    energies = WindowEnergy(model, energy, config.rollouts)
    axes = len(scanned_axes(energies, windows))
    errors = horizon_errors(
        model,
        windows,
        generator=generators[0],
        motion_share=config.motion_share,
        batch=max(config.rollouts // 16, 1),
        progress=progress_bar("rolling out", 2 * count),
    )
    ranks = rank_correlations(
        energies,
        windows,
        samples=config.samples,
        generator=generators[1],
        progress=progress_bar("ranking actions", count * (2 if windows.action_space.is_pose else 1)),
    )
    plans = random_plans(
        energies,
        windows,
        steps=min(config.sequence, windows.horizon),
        samples=config.samples,
        generator=generators[3],
        progress=progress_bar("comparing with random plans", count),
    )
    landscapes = axis_landscapes(
        energies, windows, points=config.points, progress=progress_bar("landscapes", count * (1 + axes))
    )
    recovered = recover_actions(
        model,
        planner,
        windows,
        generator=generators[2],
        batch=max(config.rollouts // 64, 1),
        progress=progress_bar("planning", count),
    )
    rng = np.random.default_rng(seed)
    rotation = _rotation(recovered, windows, rng)
    metrics = _metrics(errors, ranks, landscapes, recovered, windows, rng)
    metrics["camera_rotation"] = None if rotation is None else rotation.as_json()
    metrics |= _outside(energies, windows)
    metrics["worth"] = worth_metrics(plans, errors, windows, np.random.default_rng(seed))
    metrics["episodes"] = len(windows.episodes.unique())
    return Measurements(metrics, errors, ranks, landscapes, recovered, rotation)


def _metrics(
    errors: HorizonErrors,
    ranks: RankCorrelations,
    landscapes: list[AxisLandscape],
    recovered: RecoveredActions,
    windows: Windows,
    rng: np.random.Generator,
) -> dict[str, Any]:
    episodes = windows.episodes.numpy()
    axes = windows.action_space.axes
    position = None if ranks.position is None else mean(ranks.position.numpy(), episodes, rng).as_json()
    return {
        "horizons": horizon_metrics(errors, episodes, rng),
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
        "recovered": recovered_metrics(recovered, episodes, rng),
        "left_out": {} if recovered.hold is not None else {"hold": windows.action_space.why_no_hold},
    }


def _offsets(found: AxisLandscape, scale: float) -> np.ndarray:
    return found.valley_offset().double().numpy() * scale


def _rotation(
    recovered: RecoveredActions, windows: Windows, rng: np.random.Generator
) -> CameraRotation | None:
    planned, true = recovered.planned, recovered.true
    if not windows.action_space.is_pose or not planned[:, :2].any() or not true[:, :2].any():
        return None
    return fit_rotation(
        planned[:, POSITION].numpy(), true[:, POSITION].numpy(), windows.episodes.numpy(), rng
    )


def _outside(energy: WindowEnergy, windows: Windows) -> dict[str, Any]:
    """Return the share of true first actions outside the model's bounds, which no planner can find.

    It is given in total, and for each axis that has some.
    """
    low, high = energy.bounds()
    first = windows.actions[:, 0]
    # Bounds are the lowest and highest training actions, in float32.
    outside = (first < low - 1e-5) | (first > high + 1e-5)
    shares = outside.double().mean(dim=0).tolist()
    return {
        "outside_bounds": float(outside.any(dim=1).double().mean()),
        "outside_bounds_by_axis": {
            axis.name: share for axis, share in zip(windows.action_space.axes, shares, strict=True) if share
        },
    }
