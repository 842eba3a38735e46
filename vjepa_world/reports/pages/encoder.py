"""The page of an evaluation of frozen encoders: rank correlations, energies over distances, the frames.

Legend: M frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vjepa_world.errors import counted
from vjepa_world.evaluation.encoder.evaluate import EncoderResult
from vjepa_world.evaluation.encoder.frames import GoalFrames
from vjepa_world.evaluation.encoder.table import lowest_rows, named, percent, plain, undefined_sets
from vjepa_world.reports.pages.page import Cell, ImageGrid, render
from vjepa_world.reports.plots.curves import Chart, Point
from vjepa_world.reports.plots.images import evenly_spaced, resized

#: Height of a picture [pixels], and states that are shown of a set.
TILE, SHOWN = 112, 6

#: Parts of equal numbers of frames that a curve of energies averages over.
BINS = 8


def encoder_report(result: EncoderResult, subject: str = "") -> str:
    """Return the report of an evaluation of encoders as a self-contained HTML page.

    Args:
        result: The result.
        subject: The encoders and the frames, as the subtitle names them.
    """
    metrics = result.metrics()
    kinds = list(metrics["kinds"])
    size = f"{counted(metrics['frames'], 'frame')} of {counted(metrics['scenes'], 'scene')}"
    return render(
        "encoder",
        title="Encoders for planning",
        subtitle=f"{subject}: {size}" if subject else size,
        kinds=kinds,
        ranks=[_row(row, "rank", plain) + [plain(row["all"])] for row in metrics["encoders"]],
        first=metrics["encoders"][0]["encoder"],
        differences=[
            [
                named(row),
                *(plain(row["kinds"][kind]["difference"], "+") for kind in kinds),
                plain(row["difference"], "+"),
            ]
            for row in metrics["encoders"]
            if "difference" in row
        ],
        lowest=lowest_rows(metrics["encoders"], metrics["kinds"]),
        in_order=[_row(row, "in_order", percent) for row in metrics["encoders"]],
        notes=undefined_sets(metrics["encoders"]),
        factors=_factors(metrics["encoders"][0]),
        charts=[_energy_chart(result, kind) for kind in kinds],
        grid=_pictures(result.frames),
    )


def _row(row: dict[str, Any], metric: str, write: Any) -> list[str]:
    return [named(row), *(write(own[metric]) for own in row["kinds"].values())]


def _factors(row: dict[str, Any]) -> list[list[str]]:
    """Return a line for each label of each factor: the first encoder's rank of all kinds together."""
    return [
        [name.replace("_", " "), label, str(group["scenes"]), plain(group)]
        for name, labels in row["factors"].items()
        for label, group in labels.items()
    ]


def _energy_chart(result: EncoderResult, kind: str) -> Chart:
    """Return the mean energy over the distance for each variant, each set's relative to its mean."""
    chosen = [index for index, entry in enumerate(result.frames) if entry.kind == kind]
    frames = [result.frames[index] for index in chosen]
    distances = np.concatenate([entry.distances.numpy() for entry in frames]) * frames[0].scale
    series: dict[str, list[Point]] = {}
    for variant, energies in zip(result.variants, result.energies, strict=True):
        relative = np.concatenate([_relative(energies[index].numpy()) for index in chosen])
        series[named(asdict(variant))] = [
            (float(distances[part].mean()), float(relative[part].mean()))
            for part in np.array_split(np.argsort(distances, kind="stable"), BINS)
            if len(part)
        ]
    return Chart(f"{kind}: energy / its mean, over the distance [{frames[0].shown_unit}]", series)


def _relative(energies: np.ndarray) -> np.ndarray:
    scale = float(energies.mean())
    return energies / scale if scale > 0 else np.ones_like(energies)


def _pictures(frames: Sequence[GoalFrames]) -> ImageGrid:
    """Return the goal and some states of each set of the first scene, as the first camera sees them, by distance."""
    rows = []
    for entry in (entry for entry in frames if entry.scene == frames[0].scene):
        order = entry.distances.argsort()
        shown = order[evenly_spaced(len(order), SHOWN)].tolist()
        cells = [Cell("the goal", resized(entry.goal_views[0], TILE))]
        for index in shown:
            away = f"{float(entry.distances[index]) * entry.scale:.1f} {entry.shown_unit}"
            cells.append(Cell(away, resized(entry.views[0][index], TILE)))
        rows.append((f"{entry.goal}: {entry.kind}" if entry.goal else entry.kind, cells))
    return ImageGrid(
        head=["goal", "nearest", *[""] * (SHOWN - 2), "furthest"],
        rows=rows,
        height=TILE,
        caption="The first scene: goals, and some of the states around them from near to far",
    )
