"""Open-loop evaluation of a world model and a planner on recorded episodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from planners.protocols import Energy, Planner
from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.data.trajectories.windows import WindowTable, read_episodes
from vjepa_world.evaluation.open_loop.assessment import Assessment, assess
from vjepa_world.evaluation.open_loop.compatibility import check_numbers, choose_cameras, possible_horizon
from vjepa_world.evaluation.open_loop.config import OpenLoopConfig
from vjepa_world.evaluation.open_loop.measurements import Measurements, measure
from vjepa_world.evaluation.open_loop.protocols import ProgressBar, no_progress
from vjepa_world.evaluation.open_loop.training_data import ALL_TAKEN, held_out_episodes, trained_fps
from vjepa_world.evaluation.open_loop.windows import FrameEncoding, Windows, draw_windows, read_windows
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.planning.action_axes import space_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OpenLoopResult:
    """The result of an open-loop evaluation.

    Attributes:
        model: The world model.
        energy: The energy that the planner minimised.
        config: What was measured.
        windows: The windows.
        measurements: Metrics and data for the report.
        fps: Frames per second of the windows.
        notes: Notes for the reader of the results.
        bad: Episodes that could not be used.
    """

    model: LatentWorldModel
    energy: Energy
    config: OpenLoopConfig
    windows: Windows
    measurements: Measurements
    fps: float
    notes: tuple[str, ...]
    bad: BadFiles

    def metrics(self) -> dict[str, Any]:
        """Return all metrics, ready for JSON."""
        return {
            "episodes": len(self.windows.episodes.unique()),
            "windows": len(self.windows),
            "fps": self.fps,
            "bad_episodes": len(self.bad),
            "notes": list(self.notes),
            **self.measurements.metrics,
        }

    def assessments(self) -> list[Assessment]:
        """Return whether one can plan with the model: questions with answers and evidence."""
        return assess(self.measurements.metrics)


def evaluate_open_loop(
    model: LatentWorldModel,
    dataset: TrajectoryDataset,
    planner: Planner,
    energy: Energy,
    *,
    config: OpenLoopConfig | None = None,
    windows: int = 256,
    cameras: Sequence[str] = (),
    fps: float = 0.0,
    split: Literal["held_out", "all"] = "held_out",
    provenance: Mapping[str, Any] | None = None,
    max_bad_fraction: float = 0.2,
    seed: int = 0,
    notes: Sequence[str] = (),
    on_start: Callable[[], object] = lambda: None,
    progress_bar: ProgressBar = lambda task, total: no_progress,
) -> OpenLoopResult:
    """Compare predictions and planned actions with recorded episodes; no environment is needed.

    Args:
        model: The world model; the episodes are of its first robot.
        dataset: Recorded episodes.
        planner: Plans one step with the model.
        energy: The energy that the planner minimises.
        config: What is measured.
        windows: Windows that are drawn, at least 2.
        cameras: Names of the cameras that the model sees; empty for the first ones.
        fps: Frames per second; 0 uses that of the training if `provenance` records it, else the dataset's.
        split: held_out leaves out the episodes that the model was trained on, as far as `provenance` records them.
        provenance: How the model was trained, see :func:`vjepa_world.pretrained.read_checkpoint`.
        max_bad_fraction: Share of unusable episodes above which to stop.
        seed: Seed of the windows and of each measurement.
        notes: Notes on the data, which the result repeats.
        on_start: Called when all inputs have been checked, before frames are decoded.
        progress_bar: Opens a progress bar.

    Raises:
        CheckpointError: If the model does not fit the data.
        DataError: If the data cannot be used.
    """
    config = config or OpenLoopConfig()
    provenance = provenance or {}
    horizon, on_horizon = possible_horizon(model, config.horizon)
    if split == "all":
        episodes, bad = read_episodes(dataset, max_bad_fraction=max_bad_fraction)
        on_episodes = [ALL_TAKEN]
    else:
        episodes, bad, on_episodes = held_out_episodes(dataset, provenance, max_bad_fraction=max_bad_fraction)
    table = WindowTable(episodes, frames=horizon + 1, fps=fps or trained_fps(provenance))
    check_numbers(model.robot, table, dataset)
    chosen = draw_windows(table, windows, seed)
    encoding = FrameEncoding(
        model.encode_frames,
        model.preprocessing,
        choose_cameras(dataset, cameras, model.config.views),
        extrinsics=model.config.predictor.use_extrinsics,
        space=space_of(model),
    )
    on_start()
    found = read_windows(dataset, table, chosen, encoding, bad, progress_bar("reading", len(chosen)))
    warnings = model.input_warnings(found.frames[:, 0], found.states[:, 0], "a picture of the data")
    for warning in warnings:
        logger.warning("warning: %s", warning)
    return OpenLoopResult(
        model=model,
        energy=energy,
        config=config,
        windows=found,
        measurements=measure(model, planner, energy, found, config, seed=seed, progress_bar=progress_bar),
        fps=table.fps,
        notes=(*notes, *on_horizon, *on_episodes, *(f"Warning: {warning}" for warning in warnings)),
        bad=bad,
    )
