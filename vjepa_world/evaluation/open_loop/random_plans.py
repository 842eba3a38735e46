"""The energies of random action sequences, and where the true sequence lies among them.

Legend: W windows, B windows of a batch, S random sequences, K steps of a sequence, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from vjepa_world.evaluation.open_loop.drawn_actions import draw_actions
from vjepa_world.evaluation.open_loop.energy_landscape import WindowEnergy, free_axes
from vjepa_world.evaluation.open_loop.protocols import Progress, no_progress
from vjepa_world.evaluation.open_loop.windows import Windows


@dataclass(frozen=True, eq=False)
class RandomPlans:
    """How the energy tells action sequences of each window apart; the goal is the frame after the last action.

    Attributes:
        steps: K.
        variation: Coefficient of variation of the planner's energy over the random sequences, `[W]`.
        squared_variation: The same of the mean squared distance of the features, `[W]`, whatever the planner's energy.
        rank: Share of the random sequences with a lower energy than the true one, `[W]`; ties count half.
    """

    steps: int
    variation: Tensor
    squared_variation: Tensor
    rank: Tensor


@torch.no_grad()
def random_plans(
    energy: WindowEnergy,
    windows: Windows,
    *,
    steps: int,
    samples: int,
    generator: Generator,
    progress: Progress = no_progress,
) -> RandomPlans | None:
    """Draw sequences within the model's bounds and compare their energies with the true sequence's.

    Axes that do not vary in the data or within the bounds have their true values.

    Args:
        energy: The model and the planner's energy.
        windows: The windows.
        steps: K, at most the windows' horizon.
        samples: S.
        generator: Draws the sequences.
        progress: Called with the number of windows of each batch.

    Returns:
        None if no axis varies within the bounds.
    """
    low, high = energy.bounds()
    free, _ = free_axes(energy, windows)
    if not free.any():
        return None
    true = windows.actions[:, :steps].unsqueeze(1)
    drawn = draw_actions(low, high, (len(windows), samples, steps), windows.action_space, generator=generator)
    # The true sequence comes first.
    sequences = torch.cat([true, torch.where(free, drawn, true)], dim=1)
    found: list[tuple[Tensor, Tensor]] = []
    for indices in windows.batches(max(energy.batch // ((samples + 1) * steps), 1)):
        found.append(_energies(energy, windows, indices, sequences[indices]))
        progress(len(indices))
    energies, squares = (torch.cat(parts) for parts in zip(*found, strict=True))
    first, others = energies[:, :1], energies[:, 1:]
    rank = (others < first).double().mean(dim=1) + 0.5 * (others == first).double().mean(dim=1)
    return RandomPlans(steps, variation_of(others), variation_of(squares[:, 1:]), rank)


def _energies(
    energy: WindowEnergy, windows: Windows, indices: Tensor, sequences: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the energy and the mean squared distance, float64 `[B, S]` each, of sequences `[B, S, K, A]`."""
    steps = sequences.shape[2]
    device = energy.model.action_low.device
    context, goal = windows.context(indices, device), windows.features[indices, steps].to(device)
    found, squares = [], []
    for some in sequences.to(device).split(max(energy.batch // (len(indices) * steps), 1), dim=1):
        predicted = energy.model.rollout(context, some)
        found.append(energy.energy(predicted, goal, some).double().cpu())
        last = predicted[:, :, -1].float()
        squares.append((last - goal.unsqueeze(1)).square().mean(dim=(2, 3)).double().cpu())
    return torch.cat(found, dim=1), torch.cat(squares, dim=1)


def variation_of(energies: Tensor) -> Tensor:
    r"""Return the coefficient of variation :math:`\sigma / |\mu|` over the last axis, `[...]` of `[..., S]`.

    It is 0 where all are 0.
    """
    return energies.std(dim=-1, correction=0) / energies.mean(dim=-1).abs().clamp_min(1e-12)


#: What moves in a window, from the labels of its frames; the first that applies.
GROUPS = {
    "object lifted": "object_lifted",
    "object moves": "object_moving",
    "object touched, at rest": "contact",
}

#: A window with none of these labels.
ARM_ALONE = "arm alone"


def what_moves(labels: Mapping[str, Tensor], steps: int) -> dict[str, Tensor]:
    """Return the windows of each group by what moves in their first frames, bool `[W]` each, groups with some only.

    Args:
        labels: By name, bool `[W, T]`; empty if the data has none, and so is the result.
        steps: K; the first K + 1 frames count.
    """
    left: Tensor | None = None
    found = {}
    for group, label in GROUPS.items():
        if label in labels:
            has = labels[label][:, : steps + 1].any(dim=1)
            left = torch.ones_like(has) if left is None else left
            found[group] = has & left
            left = left & ~has
    if left is not None:
        found[ARM_ALONE] = left
    return {group: chosen for group, chosen in found.items() if chosen.any()}
