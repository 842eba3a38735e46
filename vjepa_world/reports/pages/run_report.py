"""The report of a training run: its curves, masks and features of its clips, alarms, unreadable files, settings."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.errors import CheckpointError, ConfigError, counted
from vjepa_world.files.validation import read_json_object
from vjepa_world.reports.checkpoint_text import provenance_rows
from vjepa_world.reports.pages.page import render
from vjepa_world.reports.pages.pretraining import (
    collapse_alarm,
    draw_masks,
    feature_images,
    first_clips,
    mask_images,
)
from vjepa_world.reports.plots.curves import Chart, Point
from vjepa_world.runs import CONFIG_FILE, RESULT_FILE, RunError

if TYPE_CHECKING:
    import torch

    from vjepa_world.training.pretrain.config import PretrainConfig

BAD_FILES = "bad_files.csv"

#: Unreadable files that are listed, at most.
MAX_LISTED = 200

#: Headings of the report, and below each the charts with the names of their metrics (`*` stands for any text).
GROUPS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "Losses": {"loss": ["loss*"], "held-out error": ["val_*"]},
    "Health of the features": {
        "spread (standard deviation)": ["*_std"],
        "effective rank": ["*_rank"],
        "distance of the target's weights": ["ema_distance"],
    },
    "Online probe": {"error on held-out clips": ["probe_*"]},
    "Optimisation": {
        "gradient norm": ["gradient_norm*", "grad_norm*"],
        "learning rate": ["lr*"],
        "weight decay": ["weight_decay"],
        "momentum": ["*momentum"],
    },
    "Speed": {
        "throughput": ["*_per_s"],
        "shares of time and machine": ["wait_fraction", "matrix_share"],
    },
}


def run_page(folder: Path, lines: Sequence[Mapping[str, float]], device: torch.device) -> str:
    """Return the report of a run as HTML.

    Args:
        folder: The run.
        lines: Its logged metrics, one mapping per step.
        device: Where features are computed.
    """
    notes: list[str] = []
    config = _pretrain_config(folder, notes)
    clips = None if config is None else first_clips(config, notes)
    masks, features = [], None
    if config is not None and clips is not None:
        masks = draw_masks(config, clips)
        features = feature_images(folder, config, clips, device, notes)
    return render(
        "run",
        title=f"{folder.resolve().parent.name} / {folder.resolve().name}",
        subtitle=f"{folder}, {_steps_done(lines, config)}",
        collapse=collapse_alarm(lines, config, masks),
        curves=grouped(lines),
        clip_names=() if clips is None else clips.names,
        masks=None if clips is None else mask_images(clips, masks),
        features=features,
        notes=notes,
        bad_files=_bad_files(folder),
        settings=_settings(folder),
    )


def _steps_done(lines: Sequence[Mapping[str, float]], config: PretrainConfig | None) -> str:
    done = int(lines[-1]["step"]) + 1
    return counted(done, "step") if config is None else f"{done} of {counted(config.trainer.steps, 'step')}"


def _pretrain_config(folder: Path, notes: list[str]) -> PretrainConfig | None:
    """Return the configuration of a pretraining run; None for other runs, or where it cannot be read (a note)."""
    from vjepa_world.config import from_yaml
    from vjepa_world.training.pretrain.config import PretrainConfig

    path = folder / CONFIG_FILE
    if not path.is_file():
        notes.append(f"{CONFIG_FILE} is missing, so masks and features are not drawn.")
        return None
    text = path.read_text(encoding="utf-8")
    if not _is_pretrain(folder, text):
        return None
    try:
        return from_yaml(text, PretrainConfig, str(path), other_kinds=True)
    except ConfigError as error:
        notes.append(
            f"masks and features are not drawn, for this release does not read the run's settings: {error}"
        )
        return None


def _is_pretrain(folder: Path, text: str) -> bool:
    """Return whether a run is of pretrain: by its checkpoint, or before the first one by its folder or settings."""
    from vjepa_world.pretrained.native import checkpoint_steps, read_config

    if checkpoint_steps(folder):
        try:
            return bool(read_config(folder)["provenance"].get("verb") == "pretrain")
        except CheckpointError:
            pass  # the error is reported where the weights are needed
    return folder.resolve().parent.name == "pretrain" or ("\nmodel:" in text and "\nobjective:" in text)


def grouped(lines: Sequence[Mapping[str, float]]) -> dict[str, list[Chart]]:
    """Return charts of all metrics of a log by heading; metrics of no known kind are charts of their own."""
    series: dict[str, list[Point]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and isinstance(value, int | float) and math.isfinite(value):
                series.setdefault(name, []).append((float(line["step"]), float(value)))
    found: dict[str, list[Chart]] = {}
    for heading, charts in GROUPS.items():
        for title, patterns in charts.items():
            names = [name for name in series if any(fnmatchcase(name, pattern) for pattern in patterns)]
            if names:
                found.setdefault(heading, []).append(Chart(title, {name: series.pop(name) for name in names}))
    if series:
        found["Other metrics"] = [Chart(name, {name: points}) for name, points in series.items()]
    return found


def _bad_files(folder: Path) -> dict[str, Any]:
    """Return the list of files that could not be read; empty where there is none."""
    path = folder / BAD_FILES
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        head, *rows = [*csv.reader(stream)] or [[]]
    return {"path": path, "count": len(rows), "head": head, "rows": rows[:MAX_LISTED]} if rows else {}


def _settings(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the run's settings, the provenance of its checkpoint and its result, where it has them."""
    from vjepa_world.config import flatten, read_yaml_file

    path = folder / CONFIG_FILE
    found = {
        "settings": read_yaml_file(path) if path.is_file() else {},
        "provenance of the checkpoint": _provenance(folder),
        "result": _result(folder),
    }
    return {heading: flatten(values) for heading, values in found.items() if values}


def _provenance(folder: Path) -> dict[str, Any]:
    """Return what the newest checkpoint records besides the settings; empty without a checkpoint."""
    from vjepa_world.pretrained.native import find_checkpoint, read_config

    try:
        description = read_config(folder)
        found = {"checkpoint": find_checkpoint(folder).name, "kind": description["kind"]}
    except CheckpointError:
        return {}
    return found | provenance_rows(
        {name: value for name, value in description["provenance"].items() if name != "config"}
    )


def _result(folder: Path) -> dict[str, Any]:
    """Return the content of `result.json`; empty without one.

    Raises:
        RunError: If it is broken.
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        return {}
    return read_json_object(path, again="Remove it, or evaluate again.", error=RunError)
