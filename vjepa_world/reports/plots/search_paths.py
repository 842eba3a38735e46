"""The samples of a planner's search in space: where each leads, its energy, and which were chosen.

Legend: I iterations, S samples, K horizon, A action size, P state size, L points of a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from planners.protocols import Iteration, Plan
from vjepa_world.ops.pose import POSE_SIZE
from vjepa_world.planning.action_axes import POSITION, ActionSpace, action_space
from vjepa_world.reports.plots.images import evenly_spaced

#: Iterations that are drawn, samples of each, and numbers in all, at most, so that the page stays small.
MAX_ITERATIONS, MAX_SAMPLES, MAX_NUMBERS = 40, 256, 60_000

#: Share of the energies that the colour scale spans; the few above have its last colour.
SCALE_SHARE = 0.98


@dataclass(frozen=True, eq=False)
class IterationPaths:
    """What is drawn of one iteration.

    Attributes:
        number: From 1.
        paths: `[S, L, 3]`.
        energies: `[S]`; +inf for samples without one.
        chosen: Whether the planner continued from a sample, bool `[S]`.
        summary: Its energies and spread in words.
    """

    number: int
    paths: np.ndarray
    energies: np.ndarray
    chosen: np.ndarray
    summary: str

    @property
    def diverged(self) -> np.ndarray:
        """Whether a sample has no energy, bool `[S]`."""
        return ~np.isfinite(self.energies)


@dataclass(frozen=True, eq=False)
class SearchPaths:
    """Where the samples of a search and the plan lead.

    Attributes:
        labels: Of the three axes.
        unit: m where the axes are positions, which share one scale; else empty.
        description: What the paths are, in a sentence.
        iterations: Those that are drawn.
        plan: `[L, 3]`.
        omitted: What is not drawn, in a sentence; empty where everything is.
    """

    labels: tuple[str, str, str]
    unit: str
    description: str
    iterations: tuple[IterationPaths, ...]
    plan: np.ndarray
    omitted: str

    @property
    def energy_range(self) -> tuple[float, float]:
        """The energies at the ends of the colour scale."""
        energies = np.concatenate([part.energies for part in self.iterations])
        finite = energies[np.isfinite(energies)]
        if not finite.size:
            return 0.0, 1.0
        return float(finite.min()), float(np.quantile(finite, SCALE_SHARE))

    @property
    def diverged(self) -> int:
        """Number of drawn samples without an energy."""
        return sum(int(part.diverged.sum()) for part in self.iterations)

    @property
    def limits(self) -> np.ndarray:
        """The ends of the axes `[3, 2]`, with a margin; axes of one unit have the same length."""
        points = np.concatenate([self.plan, *(part.paths.reshape(-1, 3) for part in self.iterations)])
        low, high = points.min(axis=0), points.max(axis=0)
        half = 1.06 * (high - low) / 2
        half = np.full(3, max(float(half.max()), 1e-3)) if self.unit else np.where(half > 1e-9, half, 1.0)
        middle = (low + high) / 2
        return np.stack([middle - half, middle + half], axis=1)


def search_paths(plan: Plan, state: Tensor, space: ActionSpace | None = None) -> SearchPaths | None:
    """Return the paths of a search of one problem; None where it left no trace, or actions are of joints.

    Pose deltas are added up from the position in the state `[P]`; where the state is not a pose, from zero. Of other
    actions the first three numbers of the first step are taken; missing ones are 0.
    """
    space = space or action_space(plan.actions.shape[-1])
    if not plan.iterations or space.of_joints:
        return None
    start = _start(state) if space.is_pose else None
    steps = plan.actions.shape[1]
    chosen = evenly_spaced(len(plan.iterations), MAX_ITERATIONS)
    numbers = (steps + 1) * 3 if space.is_pose else 3
    most = min(max(MAX_NUMBERS // (len(chosen) * numbers), 8), MAX_SAMPLES)
    iterations = tuple(
        _iteration(plan.iterations[k], k + 1, len(plan.iterations), start, most) for k in chosen
    )
    return SearchPaths(
        *_labels(space, steps, space.is_pose and len(state) == POSE_SIZE),
        iterations,
        _paths(plan.actions[:1], start)[0],
        _omitted(plan.iterations, iterations),
    )


def _start(state: Tensor) -> np.ndarray:
    """Return the end effector's position `[3]` [m], or zero where the state `[P]` is not a pose."""
    return state[POSITION].double().cpu().numpy() if len(state) == POSE_SIZE else np.zeros(3)


def _labels(space: ActionSpace, steps: int, from_pose: bool) -> tuple[tuple[str, str, str], str, str]:
    """Return the axes' labels, their unit, and what the paths are."""
    if space.is_pose:
        frame = "in the robot's base frame" if from_pose else "relative to its position now"
        labels = ("x [m]", "y [m]", "z [m]") if from_pose else ("dx [m]", "dy [m]", "dz [m]")
        what = "The path of the end effector" if steps > 1 else "Where the end effector goes"
        return labels, "m", f"{what}, {frame}: its position and the planned changes, added up."
    names = [axis.label for axis in space.axes][:3] + ["(none)"] * max(3 - len(space.axes), 0)
    description = "The first numbers of the first action; each axis has its own scale."
    return (names[0], names[1], names[2]), "", description


def _paths(actions: Tensor, start: np.ndarray | None) -> np.ndarray:
    """Return the paths `[S, L, 3]` of actions `[S, K, A]`; single points `[S, 1, 3]` without a start `[3]`."""
    values = actions.double().cpu().numpy()
    if start is not None:
        moved = values[..., POSITION].cumsum(axis=1)
        return start + np.concatenate([np.zeros_like(moved[:, :1]), moved], axis=1)
    first = values[:, :1, :3]
    return np.pad(first, ((0, 0), (0, 0), (0, 3 - first.shape[2])))


def _iteration(
    iteration: Iteration, number: int, count: int, start: np.ndarray | None, most: int
) -> IterationPaths:
    energies = iteration.energies[0].double().cpu().numpy()
    chosen = iteration.selected[0].cpu().numpy()
    drawn = _drawn_samples(energies, chosen, most)
    summary = (
        f"iteration {number} of {count}: best energy {float(iteration.best_energy[0]):.4f}, mean "
        f"{float(iteration.mean_energy[0]):.4f}, spread {float(iteration.spread[0]):.3f}, "
        f"{int(chosen.sum())} of {len(chosen)} samples chosen"
    )
    paths = _paths(iteration.samples[0], start)
    return IterationPaths(number, paths[drawn], energies[drawn], chosen[drawn], summary)


def _drawn_samples(energies: np.ndarray, chosen: np.ndarray, most: int) -> np.ndarray:
    """Return indices of samples: all, or the best of the chosen ones and evenly many of the others."""
    if len(energies) <= most:
        return np.arange(len(energies))
    order = np.argsort(energies, kind="stable")
    best = order[chosen[order]][: most // 2]
    others = order[~chosen[order]]
    return np.concatenate([best, others[evenly_spaced(len(others), most - len(best))]])


def _omitted(trace: Sequence[Iteration], iterations: Sequence[IterationPaths]) -> str:
    drawn = sum(len(part.energies) for part in iterations)
    count = sum(part.energies.shape[1] for part in trace)
    if drawn == count:
        return ""
    return (
        f"{drawn} of {count} samples are drawn: {len(iterations)} of {len(trace)} iterations, and in each the best of "
        "those chosen and others evenly by energy."
    )
