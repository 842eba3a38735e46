"""Energy landscapes: whether the energy that a planner minimises is lowest at the true action.

Legend: W windows, B windows of a batch, S sampled actions, P points of a grid, A action size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from planners.protocols import Energy
from vjepa_world.evaluation.open_loop.drawn_actions import draw_actions
from vjepa_world.evaluation.open_loop.protocols import Progress, RolloutModel, no_progress
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.evaluation.rank_correlation import spearman
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.planning.action_axes import POSITION

#: An axis whose true actions have a smaller standard deviation (in the data's units) is not varied.
STILL = 1e-6


@dataclass(frozen=True, eq=False)
class WindowEnergy:
    """The energy of single actions from the first frame of each window; the second frame is the goal.

    Attributes:
        model: The world model.
        energy: The energy that a planner minimises.
        batch: Actions in one batch.
    """

    model: RolloutModel
    energy: Energy
    batch: int = 512

    @torch.no_grad()
    def __call__(self, windows: Windows, indices: Tensor, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, A]` in the windows at `indices [B]`."""
        device = self.model.action_low.device
        samples = max(self.batch // max(len(indices), 1), 1)
        context, goal = windows.context(indices, device), windows.features[indices, 1].to(device)
        found = []
        for some in actions.to(device).split(samples, dim=1):
            steps = some.unsqueeze(2)
            found.append(self.energy(self.model.rollout(context, steps), goal, steps).float().cpu())
        return torch.cat(found, dim=1)

    def of_all(self, windows: Windows, actions: Tensor, progress: Progress = no_progress) -> Tensor:
        """Return the energies `[W, S]` of actions `[W, S, A]` in all windows."""
        size = max(self.batch // actions.shape[1], 1)
        found = []
        for indices in windows.batches(size):
            found.append(self(windows, indices, actions[indices]))
            progress(len(indices))
        return torch.cat(found)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the model's lowest and highest action, `[A]` each, on the CPU."""
        return self.model.action_low.float().cpu(), self.model.action_high.float().cpu()


@dataclass(frozen=True, eq=False)
class RankCorrelations:
    """Rank correlation of the energy of random actions with their distance to the true one, for each window.

    Attributes:
        position: Only x, y, z are drawn and the distance is in metres, `[W]`; None if actions are not pose deltas.
        all_axes: All axes that vary are drawn and the distance is in standard deviations of the true actions, `[W]`;
            None if no axis varies within the model's bounds.
    """

    position: Tensor | None
    all_axes: Tensor | None


def rank_correlations(
    energy: WindowEnergy,
    windows: Windows,
    *,
    samples: int,
    generator: Generator,
    progress: Progress = no_progress,
) -> RankCorrelations:
    """Draw `samples` actions within the model's bounds and correlate their energies with their distances.

    Raises:
        EvaluationError: If there are fewer than 3 samples.
    """
    if samples < 3:
        raise EvaluationError(
            f"a rank correlation got {samples} samples; allowed are at least 3. Ask for more."
        )
    low, high = energy.bounds()
    true = windows.actions[:, :1]
    drawn = draw_actions(low, high, (len(windows), samples), windows.action_space, generator=generator)
    free, std = free_axes(energy, windows)
    all_axes = None
    if free.any():
        varied = torch.where(free, drawn, true)
        distance = ((varied - true)[..., free] / std[free]).norm(dim=-1)
        all_axes = spearman(energy.of_all(windows, varied, progress), distance)
    if not windows.action_space.is_pose or not bool((high > low)[POSITION].any()):
        return RankCorrelations(None, all_axes)
    moved = true.expand_as(drawn).clone()
    moved[..., POSITION] = drawn[..., POSITION]
    distance = (moved - true).norm(dim=-1)
    return RankCorrelations(spearman(energy.of_all(windows, moved, progress), distance), all_axes)


def free_axes(energy: WindowEnergy, windows: Windows) -> tuple[Tensor, Tensor]:
    """Return which axes vary within the bounds and in the data, bool `[A]`, and their standard deviation `[A]`.

    Choices vary together, and all have the standard deviation 1.
    """
    low, high = energy.bounds()
    if windows.action_space.meaning == "choice":
        varies = bool((high > low).sum() > 1)
        return torch.full_like(low, varies, dtype=torch.bool), torch.ones_like(low)
    std = windows.actions.flatten(0, 1).std(dim=0)
    return (high > low) & (std > STILL), std


def scanned_axes(energy: WindowEnergy, windows: Windows) -> list[int]:
    """Return the axes that have a landscape: those that vary; none of choices, which have nothing in between."""
    if windows.action_space.meaning == "choice":
        return []
    found: list[int] = free_axes(energy, windows)[0].nonzero().flatten().tolist()
    return found


@dataclass(frozen=True, eq=False)
class AxisLandscape:
    """The energy along one axis; the other axes have their true values.

    Attributes:
        axis: Index of the axis.
        grid: Values along it over the model's bounds, `[P]`.
        energy: Energies on the grid, `[W, P]`.
        true: The true value, `[W]`.
        at_truth: The energy of the true action, `[W]`.
    """

    axis: int
    grid: Tensor
    energy: Tensor
    true: Tensor
    at_truth: Tensor

    def rank_correlation(self) -> Tensor:
        """Return the rank correlation of energy and distance along the axis, `[W]`."""
        return spearman(self.energy, (self.grid - self.true.unsqueeze(1)).abs())

    def valley_offset(self) -> Tensor:
        """Return the offset of the grid's lowest point from the true value, `[W]`, in the data's units."""
        return self.grid[self.energy.argmin(dim=1)] - self.true

    def around_truth(self, points: int) -> tuple[Tensor, Tensor]:
        """Return the energy relative to that of the true action, by offset from the true value.

        Args:
            points: Q offsets, over half the bounds in each direction.

        Returns:
            Offsets `[Q]`, and energies `[W, Q]` interpolated on the grid; NaN outside the grid.
        """
        half = (self.grid[-1] - self.grid[0]) / 2
        offsets = torch.linspace(-1, 1, points) * half
        at = self.true.unsqueeze(1) + offsets
        step = self.grid[1] - self.grid[0]
        position = (at - self.grid[0]) / step
        below = position.floor().clamp(0, len(self.grid) - 2).long()
        share = position - below
        interpolated = self.energy.gather(1, below) * (1 - share) + self.energy.gather(1, below + 1) * share
        outside = (share < -1e-4) | (share > 1 + 1e-4)
        return offsets, torch.where(outside, torch.nan, interpolated - self.at_truth.unsqueeze(1))


def axis_landscapes(
    energy: WindowEnergy, windows: Windows, *, points: int, progress: Progress = no_progress
) -> list[AxisLandscape]:
    """Return the landscape along each axis that varies.

    Args:
        energy: The energy.
        windows: The windows.
        points: P, over the bounds of the axis, at least 3.
        progress: Called with the number of windows of each batch; all windows count once for each axis and once more.

    Raises:
        EvaluationError: If there are fewer than 3 points.
    """
    if points < 3:
        raise EvaluationError(f"a landscape got {points} points; allowed are at least 3. Ask for more.")
    low, high = energy.bounds()
    true = windows.actions[:, :1]
    at_truth = energy.of_all(windows, true, progress)[:, 0]
    found = []
    for axis in scanned_axes(energy, windows):
        grid = torch.linspace(float(low[axis]), float(high[axis]), points)
        actions = true.repeat(1, points, 1)
        actions[:, :, axis] = grid
        values = energy.of_all(windows, actions, progress)
        found.append(AxisLandscape(axis, grid, values, true[:, 0, axis], at_truth))
    return found


def plane_landscape(
    energy: WindowEnergy,
    windows: Windows,
    index: int,
    axes: tuple[int, int],
    *,
    points: int,
    progress: Progress = no_progress,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the energy over two axes in the window at `index`; the other axes have their true values.

    Returns:
        The actions along the first and the second axis `[P]`, and the energies `[P, P]`: rows by the second axis.
    """
    low, high = energy.bounds()
    across, up = (torch.linspace(float(low[axis]), float(high[axis]), points) for axis in axes)
    actions = windows.actions[index, 0].repeat(points * points, 1)
    actions[:, axes[0]] = across.repeat(points)
    actions[:, axes[1]] = up.repeat_interleave(points)
    values = energy(windows, torch.tensor([index]), actions.unsqueeze(0))
    progress(1)
    return across, up, values.view(points, points)
