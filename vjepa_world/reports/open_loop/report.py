"""The report of an open loop: one HTML file with what was found, the curves, and pictures of what was imagined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjepa_world.evaluation.open_loop.assessment import CANNOT_TELL, assess, format_estimate, remarks_on
from vjepa_world.evaluation.open_loop.energy_landscape import WindowEnergy
from vjepa_world.evaluation.open_loop.evaluate import OpenLoopResult
from vjepa_world.evaluation.open_loop.measurements import Measurements
from vjepa_world.reports import page as html
from vjepa_world.reports.open_loop.energy import energy_section
from vjepa_world.reports.open_loop.pictures import direction_picture, scatter_picture
from vjepa_world.reports.open_loop.strips import Shown, strips_section
from vjepa_world.reports.training_curves import Chart

#: Axes of actions that are no pose deltas, of which planned and true ones are drawn, at most.
MOST_AXES = 12


def open_loop_report(result: OpenLoopResult, subject: str = "") -> str:
    """Return the report of an open-loop evaluation as a self-contained HTML page.

    Args:
        result: The result; `result.config.pictures` windows are drawn.
        subject: The model and its data, as the subtitle names them.
    """
    model, windows = result.model, result.windows
    material = Shown(
        energy=WindowEnergy(model, result.energy, result.config.rollouts),
        windows=windows,
        places=_spread(len(windows), result.config.pictures),
        grid=model.config.grid,
        are_places=model.config.latents.kind != "queries",
        decode=model.picture if model.decoder is not None else None,
        seconds=1 / result.fps,
    )
    subtitle = (
        f"{len(windows)} windows of {len(windows.episodes.unique())} episodes, {windows.horizon} steps at "
        f"{result.fps:g} frames a second"
    )
    subtitle = f"{subject}: {subtitle}" if subject else subtitle
    return open_loop_page("Open loop", subtitle, result.measurements, material, result.notes)


def _spread(count: int, wanted: int) -> list[int]:
    """Return `wanted` indices among `count`, evenly spread."""
    return sorted({(2 * k + 1) * count // (2 * wanted) for k in range(min(wanted, count))})


def open_loop_page(
    title: str, subtitle: str, measured: Measurements, material: Shown, notes: Sequence[str] = ()
) -> str:
    """Return the whole HTML file.

    Args:
        title: Of the page.
        subtitle: A line below it: which model, which data.
        measured: What was found.
        material: What is drawn.
        notes: What a reader has to know before the metrics.
    """
    metrics = measured.metrics
    remarks = "".join(html.paragraph(note, "note") for note in [*notes, *remarks_on(metrics)])
    sections = {
        "Assessment": remarks + _assessment_table(metrics),
        "What it imagines": strips_section(material),
        "Error by horizon": _horizons(metrics["horizons"], material.seconds),
        "Energy around the true action": energy_section(measured, material),
        "Actions found by the planner": _actions(measured),
        "Camera rotation": _rotation(measured),
    }
    return html.page(title, subtitle, sections)


def _assessment_table(metrics: dict[str, Any]) -> str:
    kinds = {"yes": "note good", "no": "alarm", CANNOT_TELL: "note"}
    return "".join(
        html.paragraph(
            f"{assessment.question} {assessment.answer}. {assessment.evidence}.", kinds[assessment.answer]
        )
        for assessment in assess(metrics)
    ) + html.paragraph("In brackets: 95 % bootstrap intervals over episodes.", "dim")


def _horizons(lines: Sequence[dict[str, Any]], seconds: float) -> str:
    names = {
        "model": "model",
        "copy_last_frame": "copy of the first frame",
        "shuffled_actions": "model, shuffled actions",
    }
    charts = [
        _chart(f"{title}, over steps imagined", lines, kind, names)
        for kind, title in (("plain", "L1 error, all tokens"), ("moving", "L1 error, weighted to what moves"))
    ]
    ratios = {
        "ratio_to_copy": "error / copy of the first frame",
        "ratio_to_shuffled": "error / shuffled actions",
    }
    if all(line["plain"][key]["value"] is not None for line in lines for key in ratios):
        charts += [
            _chart("ratios, all tokens, over steps imagined", lines, "plain", ratios),
            _chart("ratios, weighted to what moves, over steps imagined", lines, "moving", ratios),
        ]
    head = [
        "step",
        "time [s]",
        *(f"{kind}: {name}" for kind in ("all", "moving") for name in ratios.values()),
    ]
    rows = [
        [line["horizon"], f"{line['horizon'] * seconds:.2f}"]
        + [format_estimate(line[kind][key], ".3f") for kind in ("plain", "moving") for key in ratios]
        for line in lines
    ]
    words = (
        "From a window's first frame the model feeds itself, with the true actions; bands are 95 % intervals over "
        "episodes. Copying the first frame knows nothing of motion; shuffled actions are another window's, and a model "
        "that ignores actions is as good with them."
    )
    return (
        html.paragraph(words, "dim") + html.cards(charts) + html.folded("as a table", html.table(rows, head))
    )


def _chart(title: str, lines: Sequence[dict[str, Any]], kind: str, names: Mapping[str, str]) -> Chart:
    series = {
        name: [(float(line["horizon"]), line[kind][key]["value"]) for line in lines]
        for key, name in names.items()
    }
    bands = {
        name: [(float(line["horizon"]), *line[kind][key]["interval"]) for line in lines]
        for key, name in names.items()
    }
    return Chart(title, series, bands)


def _actions(measured: Measurements) -> str:
    recovered = measured.metrics["recovered"]
    names = {"planner": "planner", "hold": "no motion (hold)", "random_action": "random action"}
    names = {who: name for who, name in names.items() if who in recovered}
    rows = []
    for kind in recovered["planner"]:
        for who, name in names.items():
            found = recovered[who][kind]
            low, high = found["interval"]
            rows.append(
                [kind.replace("_", " "), name, f"{found['median']:.2f} ({low:.2f} to {high:.2f})"]
                + [f"{value:.2f}" for value in found["percentiles"].values()]
            )
    head = [
        "error",
        "whose",
        "median",
        *(f"{at} %" for at in recovered["planner"][next(iter(recovered["planner"]))]["percentiles"]),
    ]
    true, planned = measured.recovered.true.numpy(), measured.recovered.planned.numpy()
    axes = measured.recovered.space.axes
    words = (
        "Planned in one step from a window's first frame to its second; on the line the planner found what was "
        "done."
    )
    parts = [html.paragraph(words, "dim"), html.table(rows, head)]
    parts += [
        html.paragraph(f"Baseline '{name}': {why}.", "dim")
        for name, why in measured.metrics["left_out"].items()
    ]
    drawn = 6 if measured.recovered.space.is_pose else MOST_AXES
    if not measured.recovered.space.is_pose and len(axes) > drawn:
        parts.append(html.paragraph(f"{drawn} of {len(axes)} axes are drawn.", "dim"))
    for first in range(0, min(len(axes), drawn), 3):
        columns = slice(first, min(first + 3, drawn))
        if np.abs(true[:, columns]).max() > 0:
            parts.append(
                html.picture(scatter_picture(true[:, columns], planned[:, columns], axes[columns]), "")
            )
    return "".join(parts)


def _rotation(measured: Measurements) -> str:
    rotation = measured.rotation
    if rotation is None:
        why = (
            "nothing moves in x and y"
            if measured.recovered.space.is_pose
            else "actions are no pose deltas, so none of their numbers is a direction in space"
        )
        return html.paragraph(f"Not measured: {why}.", "dim")
    low, high = rotation.interval_deg
    rows = [
        ["about the base's z axis", f"{rotation.angle_deg:+.1f} deg ({low:+.1f} to {high:+.1f})"],
        ["distance of planned to true motions in x and y, rms", f"{100 * rotation.rms_before_m:.2f} cm"],
        ["once turned", f"{100 * rotation.rms_after_m:.2f} cm"],
    ]
    if rotation.angle_3d_deg is not None and rotation.interval_3d_deg is not None:
        low, high = rotation.interval_3d_deg
        rows.append(["best rotation in space", f"{rotation.angle_3d_deg:.1f} deg ({low:.1f} to {high:.1f})"])
    words = (
        "The rotation that carries planned motions to the true ones best. A model that saw other cameras in training "
        "may plan in a frame that is turned; planner.camera_rotation_deg turns its actions before they are sent. "
        "Green: the true direction; orange: the planned ones' as fitted."
    )
    true, planned = (
        part[:, :2].double().numpy() for part in (measured.recovered.true, measured.recovered.planned)
    )
    return (
        html.paragraph(words, "dim")
        + html.table(rows)
        + html.picture(direction_picture(true, planned, rotation.angle_deg), "")
    )
