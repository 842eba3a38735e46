"""The samples of a search in space: where they lead, which were chosen, and the plan.

Legend: I iterations, S samples, K horizon, A action size, L places of a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from planners.protocols import Iteration, Plan
from vjepa_world.evaluation.action_axes import POSITION, ActionSpace, action_space
from vjepa_world.ops.pose import POSE_SIZE
from vjepa_world.reports import page as html
from vjepa_world.reports.plan.scene3d import (
    HALF,
    STEPS,
    Scene,
    Shape,
    scale_legend,
    step_of,
    style_sheet,
    to_places,
    turning_picture,
)
from vjepa_world.reports.plot_panel import Span

#: Iterations that are drawn, samples of each, and numbers of all of them, at most: the page stays small.
MOST_ITERATIONS, MOST_SAMPLES, MOST_NUMBERS = 40, 256, 60_000

#: Share of the energies that the colour scale spans; the few above have its last colour.
SHARE = 0.98


@dataclass(frozen=True, eq=False)
class Tried:
    """What is drawn of one iteration.

    Attributes:
        number: Of the iteration, from 1.
        paths: `[S, L, 3]`.
        energies: `[S]`; +inf where there is none.
        chosen: bool `[S]`.
        words: Its figures.
    """

    number: int
    paths: np.ndarray
    energies: np.ndarray
    chosen: np.ndarray
    words: str


@dataclass(frozen=True, eq=False)
class SearchPaths:
    """Where the samples and the plan lead.

    Attributes:
        labels: Of the three axes.
        unit: m where the axes are positions, so that one scale holds for all; else empty.
        about: What the paths are, in a sentence.
        tried: The iterations that are drawn.
        plan: `[L, 3]`.
        left_out: What is not drawn, in a sentence; empty where all is.
    """

    labels: tuple[str, str, str]
    unit: str
    about: str
    tried: tuple[Tried, ...]
    plan: np.ndarray
    left_out: str


def search_paths(plan: Plan, state: Tensor, space: ActionSpace | None = None) -> SearchPaths | None:
    """Gather the paths of a search of one problem; None where it left no trace, or actions are of joints.

    Pose deltas are added up from the position in the state `[P]`; where the state is no pose, from zero. Of other
    actions the first three numbers of the first step are taken; missing ones are 0.
    """
    space = space or action_space(plan.actions.shape[-1])
    if not plan.iterations or space.of_joints:
        return None
    start = _start(state) if space.is_pose else None
    steps = plan.actions.shape[1]
    numbers = _evenly(len(plan.iterations), MOST_ITERATIONS)
    most = _most_samples(len(numbers), (steps + 1) * 3 if space.is_pose else 3)
    tried = tuple(_tried(plan.iterations[k], k + 1, len(plan.iterations), start, most) for k in numbers)
    return SearchPaths(
        *_words(space, steps, space.is_pose and len(state) == POSE_SIZE),
        tried,
        _paths(plan.actions[:1], start)[0],
        _left_out(plan.iterations, tried),
    )


def _start(state: Tensor) -> np.ndarray:
    """Return the end effector's position `[3]` [m], or zero where the state is no pose."""
    return state[POSITION].double().cpu().numpy() if len(state) == POSE_SIZE else np.zeros(3)


def _words(space: ActionSpace, steps: int, from_pose: bool) -> tuple[tuple[str, str, str], str, str]:
    """Return the axes' labels, their unit, and what the paths are."""
    if space.is_pose:
        frame = "in the robot's base frame" if from_pose else "from where it is now"
        labels = ("x [m]", "y [m]", "z [m]") if from_pose else ("dx [m]", "dy [m]", "dz [m]")
        what = "The way of the end effector" if steps > 1 else "Where the end effector goes"
        return labels, "m", f"{what}, {frame}: its position and the planned changes, added up."
    names = [axis.label for axis in space.axes][:3] + ["(none)"] * max(3 - len(space.axes), 0)
    about = "The first numbers of the first action; each axis has its own scale."
    return (names[0], names[1], names[2]), "", about


def _paths(actions: Tensor, start: np.ndarray | None) -> np.ndarray:
    """Return the paths `[S, L, 3]` of actions `[S, K, A]`; single places `[S, 1, 3]` without a start."""
    values = actions.double().cpu().numpy()
    if start is not None:
        moved = values[..., POSITION].cumsum(axis=1)
        return start + np.concatenate([np.zeros_like(moved[:, :1]), moved], axis=1)
    first = values[:, :1, :3]
    return np.pad(first, ((0, 0), (0, 0), (0, 3 - first.shape[2])))


def _tried(iteration: Iteration, number: int, count: int, start: np.ndarray | None, most: int) -> Tried:
    energies = iteration.energies[0].double().cpu().numpy()
    chosen = iteration.selected[0].cpu().numpy()
    kept = _kept(energies, chosen, most)
    figures = [
        f"best energy {float(iteration.best_energy[0]):.4f}",
        f"mean {float(iteration.mean_energy[0]):.4f}",
        f"spread {float(iteration.spread[0]):.3f}",
        f"{int(chosen.sum())} of {len(chosen)} samples chosen",
    ]
    words = f"iteration {number} of {count}: {', '.join(figures)}"
    paths = _paths(iteration.samples[0], start)
    return Tried(number, paths[kept], energies[kept], chosen[kept], words)


def _kept(energies: np.ndarray, chosen: np.ndarray, most: int) -> np.ndarray:
    """Return which samples are drawn: all, or the best of the chosen ones and evenly many of the others."""
    if len(energies) <= most:
        return np.arange(len(energies))
    order = np.argsort(energies, kind="stable")
    best = order[chosen[order]][: most // 2]
    others = order[~chosen[order]]
    return np.concatenate([best, others[_evenly(len(others), most - len(best))]])


def _evenly(count: int, most: int) -> list[int]:
    """Return places among `count`: all, or `most` evenly spaced ones with the first and the last."""
    return sorted({round(float(k)) for k in np.linspace(0, count - 1, min(count, most))}) if count else []


def _most_samples(iterations: int, numbers: int) -> int:
    return min(max(MOST_NUMBERS // (iterations * numbers), 8), MOST_SAMPLES)


def _left_out(trace: Sequence[Iteration], tried: Sequence[Tried]) -> str:
    drawn = sum(len(part.energies) for part in tried)
    count = sum(part.energies.shape[1] for part in trace)
    if drawn == count:
        return ""
    return (
        f"{drawn} of {count} samples are drawn: {len(tried)} of {len(trace)} iterations, and in each the best of those "
        "chosen and others evenly by energy."
    )


def space_section(paths: SearchPaths) -> str:
    """Return the drawing of a search, with its legend."""
    scale = colour_scale(paths)
    diverged = sum(int((~np.isfinite(part.energies)).sum()) for part in paths.tried)
    return (
        style_sheet()
        + _SHEET
        + html.paragraph(" ".join(filter(None, [paths.about, paths.left_out])), "dim")
        + _legend(scale, diverged)
        + turning_picture(_scene(paths, scale), "samples of the search in space, and the plan")
    )


def colour_scale(paths: SearchPaths) -> tuple[float, float]:
    """Return the energies at the ends of the colour scale."""
    energies = np.concatenate([part.energies for part in paths.tried])
    finite = energies[np.isfinite(energies)]
    if not finite.size:
        return 0.0, 1.0
    return float(finite.min()), float(np.quantile(finite, SHARE))


def _legend(scale: tuple[float, float], diverged: int) -> str:
    marks = [("chosen", "chosen samples (ringed)"), ("plan", "the plan")]
    if diverged:
        marks.append(("lost", f"no energy: diverged, or out of time ({diverged})"))
    swatches = "".join(f'<span><i class="{kind}"></i>{words}</span>' for kind, words in marks)
    return f'<p class="legend turning-legend turning">{scale_legend(*scale, "energy")}{swatches}</p>'


def _scene(paths: SearchPaths, scale: tuple[float, float]) -> Scene:
    spans = _spans(paths)
    plan = to_places(paths.plan, spans)
    tried = [(moment, part, to_places(part.paths, spans)) for moment, part in enumerate(paths.tried, start=1)]
    shapes = [*_samples(tried, scale), *_plan_shapes(plan)]
    everything = "all iterations" if len(tried) > 1 else tried[0][1].words
    words = [everything, *(part.words for part in paths.tried)]
    return Scene(spans, shapes, words, plan[-1], paths.unit)


def _spans(paths: SearchPaths) -> list[Span]:
    """Return the cube's axes: of one scale where they have one unit."""
    places = np.concatenate([paths.plan, *(part.paths.reshape(-1, 3) for part in paths.tried)])
    low, high = places.min(axis=0), places.max(axis=0)
    half = 1.06 * (high - low) / 2
    half = np.full(3, max(float(half.max()), 1e-3)) if paths.unit else np.where(half > 1e-9, half, 1.0)
    middle = (low + high) / 2
    return [
        Span(float(at - reach), float(at + reach), label)
        for at, reach, label in zip(middle, half, paths.labels, strict=True)
    ]


Placed = Sequence[tuple[int, Tried, np.ndarray]]
"""Moment, iteration, and its paths as places `[S, L, 3]`."""


def _samples(tried: Placed, scale: tuple[float, float]) -> Iterator[Shape]:
    """Yield the samples, worst first; of each colour the lines, then the dots; those chosen in front."""
    for moment, part, places in tried:
        lost = places[~np.isfinite(part.energies)]
        if len(lost):
            yield from _lines_and_dots(lost, "lost", moment)
    for chosen in (False, True):
        for step in reversed(range(STEPS)):
            for moment, part, places in tried:
                found = places[_of_step(part, step, scale) & (part.chosen == chosen)]
                if len(found):
                    if chosen:
                        yield from (Shape(kind, list(found[:, -1:]), when=moment) for kind in ("ring", "gap"))
                    style = f"e{step} chosen" if chosen else f"e{step}"
                    yield from _lines_and_dots(found, style, moment)


def _of_step(part: Tried, step: int, scale: tuple[float, float]) -> np.ndarray:
    """Return which samples have a step of the colour scale, bool `[S]`."""
    finite = np.isfinite(part.energies)
    return finite & (step_of(np.where(finite, part.energies, scale[1]), *scale) == step)


def _lines_and_dots(places: np.ndarray, style: str, moment: int) -> Iterator[Shape]:
    if places.shape[1] > 1:
        yield Shape(f"{style} way", list(places), when=moment)
    yield Shape(f"{style} end", list(places[:, -1:]), when=moment)


def _plan_shapes(plan: np.ndarray) -> Iterator[Shape]:
    """Yield the plan `[L, 3]` with its shadow on the floor, a dot for each step, and where it starts."""
    floor = plan.copy()
    floor[:, 2] = -HALF
    upright = [np.stack([above, below]) for above, below in zip(plan, floor, strict=True)]
    yield Shape("shadow", [floor, *upright])
    if len(plan) > 1:
        yield Shape("plan halo", [plan])
        yield Shape("plan way", [plan])
        yield Shape("start", [plan[:1]])
        yield Shape("name", [plan[:1] + np.array([0, 0, 70])], "now")
    yield Shape("plan halo end", [plan[-1:]])
    yield Shape("plan end", [place[None] for place in plan[min(len(plan) - 1, 1) :]])


_SHEET = """<style>
.turning .way { stroke-width: 1; stroke-opacity: .3 } .turning .end { stroke-width: 5; stroke-opacity: .8 }
.turning .chosen.way { stroke-width: 1.6; stroke-opacity: .9 }
.turning .chosen.end { stroke-width: 6.5; stroke-opacity: 1 }
.turning .ring { color: var(--ink); stroke-width: 12 } .turning .gap { color: var(--card); stroke-width: 9 }
.turning .lost { color: var(--dim); stroke-opacity: .5 }
.turning .lost.way { stroke-dasharray: 2 4 } .turning .plan { color: #e0453a }
.turning .plan.way { stroke-width: 4; stroke-opacity: 1 } .turning .plan.end { stroke-width: 11; stroke-opacity: 1 }
.turning .plan.halo { color: var(--card); stroke-width: 7.5 } .turning .plan.halo.end { stroke-width: 15 }
.turning .start { color: var(--ink); stroke-width: 9 }
.turning .shadow { color: #e0453a; stroke-width: 1.6; stroke-dasharray: 2 5; stroke-opacity: .75 }
p.turning { background: none; border: none; padding: 0 } .turning-legend span.scale { margin-right: 18px }
.turning-legend .plan, .turning-legend .lost { background: currentColor; border-radius: 5px }
.turning-legend .chosen { border: 2px solid var(--ink); border-radius: 50%; box-sizing: border-box }
</style>"""
