"""The samples of a search in three dimensions: an interactive plot (plotly), and a still one for readers without it.

Legend: S samples, L points of a path.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from vjepa_world.reports.plots.search_paths import SearchPaths
from vjepa_world.reports.theme import LIGHT, SCALE_STEPS, css_variables, new_figure, require, style, to_svg

if TYPE_CHECKING:
    from mpl_toolkits.mplot3d import Axes3D
    from plotly.graph_objects import Figure

#: From where the scene is seen at first [deg]. The projection has no perspective, so that one scale holds everywhere.
AZIMUTH_DEG, ELEVATION_DEG = -56.0, 24.0

#: Views to choose from: azimuth and elevation [deg].
VIEWS = {
    "first view": (AZIMUTH_DEG, ELEVATION_DEG),
    "along x": (180.0, 0.0),
    "along y": (-90.0, 0.0),
    "from above": (-90.0, 89.9),
}

#: Size of the still drawing [pixels].
WIDTH, HEIGHT = 680, 520

#: Kinds of samples, back to front, with their strength: opacity and width of paths, opacity and size of end points.
_KINDS = {
    "diverged": (0.3, 1.5, 0.3, 2.5),
    "tried": (0.25, 1.5, 0.6, 3.0),
    "chosen": (0.8, 2.0, 0.95, 3.5),
}

#: Opacity of the plan: what is not quite opaque is drawn in order, not by depth, so that the plan covers all samples.
_PLAN_OPACITY = 0.99


@cache
def library() -> str:
    """Return plotly.js, gzipped and in base64: 2 MB in place of 4.8 MB."""
    require("plotly")
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=9, mtime=0)).decode()


def figure_json(paths: SearchPaths) -> str:
    """Return the interactive plot as JSON that is safe within HTML; colours are CSS variables of the page."""
    text: str | None = interactive(paths).to_json()
    assert text is not None
    return text.replace("<", "\\u003c")


def camera(azimuth_deg: float, elevation_deg: float) -> dict[str, Any]:
    """Return plotly's camera for a direction from the scene's middle."""
    a, e = np.deg2rad([azimuth_deg, elevation_deg])
    eye = 2.0 * np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    return {"eye": dict(zip("xyz", eye.tolist(), strict=True)), "projection": {"type": "orthographic"}}


def interactive(paths: SearchPaths) -> Figure:
    """Return the plot of a search. `meta` of a trace is the iteration (from 1) that it belongs to; others have none."""
    require("plotly")
    from plotly.graph_objects import Figure

    figure = Figure()
    for moment, kind, lines, energies in _samples(paths):
        _add_samples(figure, moment, kind, lines, energies)
    _add_plan(figure, paths)
    low, high = paths.energy_range
    axes = {
        f"{name}axis": _axis(label, limits)
        for name, label, limits in zip("xyz", paths.labels, paths.limits.tolist(), strict=True)
    }
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        font={"color": "var(--dim)"},
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        showlegend=False,
        uirevision="keep the view",
        scene={
            **axes,
            "aspectmode": "manual",
            "aspectratio": dict.fromkeys("xyz", 1.25),
            "bgcolor": "rgba(0,0,0,0)",
            "camera": camera(AZIMUTH_DEG, ELEVATION_DEG),
            "dragmode": "turntable",
        },
        coloraxis={
            "cmin": low,
            "cmax": high,
            "colorscale": [[k / (SCALE_STEPS - 1), f"var(--scale-{k})"] for k in range(SCALE_STEPS)],
            "showscale": False,
        },
    )
    return figure


def _axis(label: str, limits: list[float]) -> dict[str, Any]:
    return {
        "title": {"text": label, "font": {"color": "var(--ink)"}},
        "range": limits,
        "gridcolor": "var(--line)",
        "zeroline": False,
        "showbackground": False,
        "showspikes": False,
    }


def _samples(paths: SearchPaths) -> Iterator[tuple[int, str, np.ndarray, np.ndarray]]:
    """Yield moment, kind, paths `[S, L, 3]` and energies `[S]` of samples, back to front."""
    for kind in _KINDS:
        for moment, part in enumerate(paths.iterations, start=1):
            rows = {
                "diverged": part.diverged,
                "tried": ~part.diverged & ~part.chosen,
                "chosen": ~part.diverged & part.chosen,
            }[kind]
            if rows.any():
                yield moment, kind, part.paths[rows], part.energies[rows]


def _add_samples(figure: Figure, moment: int, kind: str, lines: np.ndarray, energies: np.ndarray) -> None:
    line_opacity, width, end_opacity, size = _KINDS[kind]

    def colour(repeats: int) -> dict[str, Any]:
        if kind == "diverged":
            return {"color": "var(--dim)"}
        return {"color": np.repeat(energies, repeats).astype(np.float32), "coloraxis": "coloraxis"}

    if lines.shape[1] > 1:
        figure.add_scatter3d(
            **_coordinates(_with_gaps(lines)),
            mode="lines",
            line={"width": width, "dash": "dash" if kind == "diverged" else "solid"}
            | colour(lines.shape[1] + 1),
            opacity=line_opacity,
            hoverinfo="skip",
            name=f"{kind} paths",
            meta=moment,
        )
    if kind == "chosen":
        figure.add_scatter3d(
            **_coordinates(lines[:, -1]),
            mode="markers",
            marker={"color": "var(--ink)", "size": 2 * size, "symbol": "circle-open"},
            opacity=end_opacity,
            hoverinfo="skip",
            name="chosen rings",
            meta=moment,
        )
    figure.add_scatter3d(
        **_coordinates(lines[:, -1]),
        mode="markers",
        marker={"size": size, "line": {"width": 0}} | colour(1),
        opacity=end_opacity,
        name=f"{kind} ends",
        text=[f"energy {energy:.4f}" for energy in energies] if kind != "diverged" else "no energy",
        hovertemplate="%{text}<br>%{x:.3f}, %{y:.3f}, %{z:.3f}<extra></extra>",
        meta=moment,
    )


def _add_plan(figure: Figure, paths: SearchPaths) -> None:
    """Add the plan with its shadow on the floor, a dot for each step, and where it starts."""
    plan, floor = paths.plan, _shadow(paths)
    figure.add_scatter3d(
        **_coordinates(_with_gaps(np.concatenate([np.stack([plan, floor], axis=1), _segments(floor)]))),
        mode="lines",
        line={"color": "var(--alarm)", "width": 1.5, "dash": "dot"},
        opacity=_PLAN_OPACITY,
        hoverinfo="skip",
        name="shadow of the plan",
    )
    if len(plan) > 1:
        for name, colour, width in (
            ("outline of the plan", "var(--card)", 9),
            ("the plan", "var(--alarm)", 5),
        ):
            figure.add_scatter3d(
                **_coordinates(plan),
                mode="lines",
                line={"color": colour, "width": width},
                opacity=_PLAN_OPACITY,
                hoverinfo="skip",
                name=name,
            )
        figure.add_scatter3d(
            **_coordinates(plan[:1]),
            mode="markers+text",
            marker={"color": "var(--ink)", "size": 6},
            text="now",
            textposition="top center",
            textfont={"color": "var(--ink)"},
            opacity=_PLAN_OPACITY,
            hoverinfo="skip",
            name="start",
        )
    steps = plan[min(len(plan) - 1, 1) :]
    figure.add_scatter3d(
        **_coordinates(steps),
        mode="markers",
        marker={"color": "var(--alarm)", "size": 6, "line": {"color": "var(--card)", "width": 1}},
        opacity=_PLAN_OPACITY,
        text=[f"step {k} of the plan" for k in range(1, len(steps) + 1)],
        hovertemplate="%{text}<br>%{x:.3f}, %{y:.3f}, %{z:.3f}<extra></extra>",
        name="steps of the plan",
    )


def _shadow(paths: SearchPaths) -> np.ndarray:
    """Return the plan's points on the floor, `[L, 3]`."""
    floor = paths.plan.copy()
    floor[:, 2] = paths.limits[2, 0]
    return floor


def _segments(line: np.ndarray) -> np.ndarray:
    """Return the parts between the points of a line `[L, 3]`, `[L - 1, 2, 3]`."""
    return np.stack([line[:-1], line[1:]], axis=1)


def _with_gaps(lines: np.ndarray) -> np.ndarray:
    """Return lines `[S, L, 3]` one after the other with a gap behind each, `[S * (L + 1), 3]`."""
    return np.pad(lines, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan).reshape(-1, 3)


def _coordinates(points: np.ndarray) -> dict[str, np.ndarray]:
    """Return points `[..., 3]` as plotly takes them."""
    return {name: points[..., k].astype(np.float32) for k, name in enumerate("xyz")}


def still(paths: SearchPaths, label: str) -> str:
    """Return the first view of a search with all iterations as an SVG element; `label` says what it shows."""
    with style():
        from mpl_toolkits.mplot3d.art3d import Line3DCollection

        figure = new_figure(WIDTH, HEIGHT)
        axes: Axes3D = figure.add_subplot(
            projection="3d", proj_type="ortho", azim=AZIMUTH_DEG, elev=ELEVATION_DEG, computed_zorder=False
        )
        for _, kind, lines, energies in _samples(paths):
            line_opacity, width, end_opacity, size = _KINDS[kind]
            colours = [LIGHT["dim"]] * len(lines) if kind == "diverged" else _energy_colours(paths, energies)
            edge = LIGHT["ink"] if kind == "chosen" else "none"
            axes.add_collection3d(
                Line3DCollection(
                    lines, colors=colours, linewidths=width / 2, alpha=line_opacity, rasterized=True
                )
            )
            axes.scatter(
                *lines[:, -1].T,
                c=colours,
                s=(1.6 * size) ** 2,
                alpha=end_opacity,
                edgecolors=edge,
                rasterized=True,
            )
        axes.plot(*_shadow(paths).T, ":", color=LIGHT["alarm"])
        axes.plot(*paths.plan.T, "-o", color=LIGHT["alarm"], linewidth=3, ms=6)
        if len(paths.plan) > 1:
            axes.plot(*paths.plan[:1].T, "o", color=LIGHT["ink"], ms=7)
            axes.text(*paths.plan[0], "now", va="bottom", ha="center")
        for name, text, limits in zip("xyz", paths.labels, paths.limits.tolist(), strict=True):
            axes.set(**{f"{name}label": text, f"{name}lim": limits})
        for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
            axis.pane.set_visible(False)
        axes.set_box_aspect((1, 1, 1))
        return to_svg(figure, label)


def _energy_colours(paths: SearchPaths, energies: np.ndarray) -> list[str]:
    """Return the colours of energies `[S]` in the light theme."""
    low, high = paths.energy_range
    steps = np.clip((energies - low) / ((high - low) or 1.0) * SCALE_STEPS, 0, SCALE_STEPS - 1).astype(int)
    scale = css_variables(dark=False)
    return [scale[f"scale-{step}"] for step in steps]
