"""The page of an open-loop evaluation: assessments, film strips, errors, energies, recovered actions, camera rotation.

Legend: W windows, P points of a grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjepa_world.errors import counted
from vjepa_world.evaluation.open_loop.assessment import CANNOT_TELL, assess, format_estimate, remarks_on
from vjepa_world.evaluation.open_loop.energy_landscape import AxisLandscape, WindowEnergy, plane_landscape
from vjepa_world.evaluation.open_loop.evaluate import OpenLoopResult
from vjepa_world.evaluation.open_loop.measurements import Measurements
from vjepa_world.reports.pages.page import render
from vjepa_world.reports.plots.curves import Chart
from vjepa_world.reports.plots.film_strips import OpenLoopSource, film_strips
from vjepa_world.reports.plots.open_loop import (
    EnergyPlane,
    plot_directions,
    plot_energy_planes,
    plot_planned_actions,
)

#: Axes of actions that are not pose deltas, of which planned and true ones are drawn, at most.
MAX_AXES = 12

#: Planes of the action over which the energy is drawn, as indices of two axes; and the points along a side.
PLANES, PLANE_POINTS = ((0, 1), (0, 2)), 25

#: Offsets at which the mean energy along an axis is drawn.
OFFSETS = 21

_PREDICTIONS = {
    "model": "model",
    "copy_last_frame": "copy of the first frame",
    "shuffled_actions": "model, shuffled actions",
}
_RATIOS = {
    "ratio_to_copy": "error / copy of the first frame",
    "ratio_to_shuffled": "error / shuffled actions",
}
_POLICIES = {"planner": "planner", "hold": "no motion (hold)", "random_action": "random action"}


def open_loop_report(result: OpenLoopResult, subject: str = "") -> str:
    """Return the report of an open-loop evaluation as a self-contained HTML page.

    Args:
        result: The result; `result.config.pictures` windows are drawn.
        subject: The model and its data, as the subtitle names them.
    """
    model, windows = result.model, result.windows
    source = OpenLoopSource(
        energy=WindowEnergy(model, result.energy, result.config.rollouts),
        windows=windows,
        drawn=_spread(len(windows), result.config.pictures),
        grid=model.config.grid,
        is_spatial=model.config.latents.kind != "queries",
        decode=model.picture if model.decoder is not None else None,
        seconds=1 / result.fps,
    )
    subtitle = (
        f"{counted(len(windows), 'window')} of {counted(len(windows.episodes.unique()), 'episode')}, "
        f"{counted(windows.horizon, 'step')} at "
        f"{result.fps:g} frames per second"
    )
    subtitle = f"{subject}: {subtitle}" if subject else subtitle
    return open_loop_page("Open loop", subtitle, result.measurements, source, result.notes)


def _spread(count: int, wanted: int) -> list[int]:
    """Return `wanted` indices among `count`, evenly spread and away from both ends."""
    return sorted({(2 * k + 1) * count // (2 * wanted) for k in range(min(wanted, count))})


def open_loop_page(
    title: str, subtitle: str, measured: Measurements, source: OpenLoopSource, notes: Sequence[str] = ()
) -> str:
    """Return the page as HTML.

    Args:
        title: Of the page.
        subtitle: A line below it: which model, which data.
        measured: The metrics, and what they were computed from.
        source: What is drawn besides the metrics.
        notes: What a reader has to know before the metrics.
    """
    metrics = measured.metrics
    kinds = {"yes": "good", "no": "alarm", CANNOT_TELL: ""}
    return render(
        "open_loop",
        title=title,
        subtitle=subtitle,
        notes=[*notes, *remarks_on(metrics)],
        assessments=[(found, kinds[found.answer]) for found in assess(metrics)],
        strips=film_strips(source),
        has_decoder=source.decode is not None,
        is_spatial=source.is_spatial,
        worth=_worth(metrics["worth"]),
        horizons=_horizons(metrics["horizons"], source.seconds),
        energy=_energy(measured, source),
        recovered=_recovered(measured),
        rotation=_rotation(measured),
        is_pose=measured.recovered.space.is_pose,
    )


def _worth(worth: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides whether to plan with the model: a table by what moves, and the error over copying."""
    groups = worth["groups"]
    names = ("squared_variation", "variation", "rank")
    rows = []
    for name, group in groups.items():
        measured = ["" if group[key] is None else format_estimate(group[key]) for key in names]
        ratios = [
            format_estimate(group[key][worth["steps"] - 1])
            for key in ("ratio_to_copy", "moving_ratio_to_copy")
        ]
        rows.append([name, group["windows"], group["episodes"], *measured, *ratios])
    charts = []
    if all(ratio["value"] is not None for group in groups.values() for ratio in group["ratio_to_copy"]):
        lines = {name: list(enumerate(group["ratio_to_copy"], start=1)) for name, group in groups.items()}
        series = {name: [(float(k), ratio["value"]) for k, ratio in line] for name, line in lines.items()}
        bands = {name: _band([(float(k), ratio) for k, ratio in line]) for name, line in lines.items()}
        charts = [Chart("error / copy of the first frame by what moves, over steps imagined", series, bands)]
    head = [
        "what moves",
        "windows",
        "episodes",
        "variation of the squared distance",
        "variation of the energy",
        "rank of the true actions",
        "error / copy",
        "error / copy, what moves",
    ]
    return {
        "steps": worth["steps"],
        "head": head,
        "rows": rows,
        "charts": charts,
        "thresholds": worth["thresholds"],
        "is_split": len(groups) > 1,
    }


def _horizons(lines: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the errors by step imagined, as charts and as a table."""
    charts = [
        _chart(f"{title}, over steps imagined", lines, kind, _PREDICTIONS)
        for kind, title in (("plain", "L1 error, all tokens"), ("moving", "L1 error, weighted to what moves"))
    ]
    if all(line["plain"][key]["value"] is not None for line in lines for key in _RATIOS):
        charts += [
            _chart("ratios, all tokens, over steps imagined", lines, "plain", _RATIOS),
            _chart("ratios, weighted to what moves, over steps imagined", lines, "moving", _RATIOS),
        ]
    head = [f"{kind}: {name}" for kind in ("all", "moving") for name in _RATIOS.values()]
    rows = [
        [line["horizon"], f"{line['horizon'] * seconds:.2f}"]
        + [format_estimate(line[kind][key], ".3f") for kind in ("plain", "moving") for key in _RATIOS]
        for line in lines
    ]
    return {"charts": charts, "head": ["step", "time [s]", *head], "rows": rows}


def _chart(title: str, lines: Sequence[dict[str, Any]], kind: str, names: Mapping[str, str]) -> Chart:
    series, bands = {}, {}
    for key, name in names.items():
        series[name] = [(float(line["horizon"]), line[kind][key]["value"]) for line in lines]
        bands[name] = _band([(float(line["horizon"]), line[kind][key]) for line in lines])
    return Chart(title, series, bands)


def _band(estimates: Sequence[tuple[float, Mapping[str, Any]]]) -> list[tuple[float, float, float]]:
    """Return the intervals of estimates at their positions, of those that have one."""
    return [(at, *estimate["interval"]) for at, estimate in estimates if None not in estimate["interval"]]


def _energy(measured: Measurements, source: OpenLoopSource) -> dict[str, Any]:
    """Return rank correlations, the mean energy along each axis, and the energy over two axes in single windows."""
    ranks, offsets = measured.metrics["rank_correlation"], measured.metrics["valley_offset"]
    rows = []
    if ranks["position"] is not None:
        rows.append(["x, y, z together; metres", format_estimate(ranks["position"])])
    if ranks["all_axes"] is not None:
        rows.append(["all axes together; standard deviations", format_estimate(ranks["all_axes"])])
    for name, correlation in ranks["by_axis"].items():
        unit = offsets[name]["unit"]
        median = format_estimate(offsets[name]["median"], ".2f", f" {unit}".rstrip())
        rows.append(
            [
                f"{name} alone",
                format_estimate(correlation),
                median,
                f"{offsets[name]['absolute_median']:.2f} {unit}",
            ]
        )
    axes = source.windows.action_space.axes
    charts = {axes[found.axis]: _axis_chart(found, axes[found.axis]) for found in measured.landscapes}
    return {
        "nothing_varies": ranks["all_axes"] is None,
        "rows": rows,
        "charts": [chart for chart in charts.values() if chart is not None],
        "without_chart": [axis.name for axis, chart in charts.items() if chart is None],
        "planes": _planes(source) if rows else [],
    }


def _axis_chart(found: AxisLandscape, axis: Any) -> Chart | None:
    """Return the mean energy around the true action; None where no offset lies within the bounds in two windows."""
    offsets, energies = found.around_truth(OFFSETS)
    line, band = [], []
    for offset, column in zip((offsets * axis.scale).tolist(), energies.double().numpy().T, strict=True):
        values = column[np.isfinite(column)]
        if len(values) < 2:
            continue
        half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
        line.append((offset, float(values.mean())))
        band.append((offset, float(values.mean()) - half, float(values.mean()) + half))
    if not line:
        return None
    name = "energy above the true action's"
    return Chart(f"{name}, over the offset in {axis.label}", {name: line}, {name: band})


def _planes(source: OpenLoopSource) -> list[str]:
    """Return the energy over two axes around the true action, for each drawn window."""
    if not source.windows.action_space.is_pose:
        return []
    axes = source.windows.action_space.axes
    drawings: list[str] = []
    for index in source.drawn:
        true = source.windows.actions[index, 0]
        planes = []
        for first, second in PLANES:
            across, up, energies = plane_landscape(
                source.energy, source.windows, index, (first, second), points=PLANE_POINTS
            )
            planes.append(
                EnergyPlane(
                    across.numpy() * axes[first].scale,
                    up.numpy() * axes[second].scale,
                    energies.numpy(),
                    (float(true[first]) * axes[first].scale, float(true[second]) * axes[second].scale),
                    (axes[first], axes[second]),
                )
            )
        drawings += plot_energy_planes(planes, f"window {index}")
    return drawings


def _recovered(measured: Measurements) -> dict[str, Any]:
    """Return the errors of the actions that the planner found, and planned over true actions."""
    recovered, found = measured.metrics["recovered"], measured.recovered
    rows = []
    for kind in recovered["planner"]:
        for policy, name in _POLICIES.items():
            if policy in recovered:
                errors = recovered[policy][kind]
                median = format_estimate({"value": errors["median"], "interval": errors["interval"]})
                percentiles = [f"{value:.2f}" for value in errors["percentiles"].values()]
                rows.append([kind.replace("_", " "), name, median, *percentiles])
    first = next(iter(recovered["planner"].values()))
    axes, is_pose = found.space.axes, found.space.is_pose
    drawn = min(len(axes), 6 if is_pose else MAX_AXES)
    true, planned = found.true.numpy(), found.planned.numpy()
    columns = [column for column in range(drawn) if np.abs(true[:, column]).max() > 0]
    return {
        "head": ["error", "whose", "median", *(f"{percent} %" for percent in first["percentiles"])],
        "rows": rows,
        "left_out": measured.metrics["left_out"],
        "drawn": "" if is_pose or len(axes) <= drawn else f"{drawn} of {len(axes)} axes are drawn.",
        "plots": plot_planned_actions(
            true[:, columns], planned[:, columns], [axes[column] for column in columns]
        ),
    }


def _rotation(measured: Measurements) -> dict[str, Any] | None:
    """Return the rotation from planned to true motions; None where it was not measured."""
    rotation = measured.rotation
    if rotation is None:
        return None
    about_z = {"value": rotation.angle_deg, "interval": rotation.interval_deg}
    rows = [
        ["about the base's z axis", format_estimate(about_z, "+.1f", " deg")],
        ["distance of planned to true motions in x and y, rms", f"{100 * rotation.rms_before_m:.2f} cm"],
        ["once rotated", f"{100 * rotation.rms_after_m:.2f} cm"],
    ]
    if rotation.angle_3d_deg is not None:
        in_space = {"value": rotation.angle_3d_deg, "interval": rotation.interval_3d_deg}
        rows.append(["best rotation in space", format_estimate(in_space, ".1f", " deg")])
    true, planned = (
        part[:, :2].double().numpy() for part in (measured.recovered.true, measured.recovered.planned)
    )
    return {"rows": rows, "plots": plot_directions(true, planned, rotation.angle_deg)}
