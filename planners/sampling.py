"""Noise, bounds and elites for planners that sample.

Whatever mixes numbers is done one problem at a time, so that no result can depend on the batch.
Shapes as in `planners.protocols`; E elites.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from planners.errors import PlannerError


def make_generators(seeds: Sequence[int]) -> list[Generator]:
    """Return one CPU generator a problem. Noise from the CPU is the same whatever device plans."""
    return [torch.Generator(device="cpu").manual_seed(seed) for seed in seeds]


def sample_bounded_gaussian(
    mean: Tensor, std: Tensor, low: Tensor, high: Tensor, num_samples: int, generators: Sequence[Generator]
) -> Tensor:
    r"""Return samples :math:`a = \mathrm{clip}(\mu + \sigma \epsilon, low, high)`, `[B, S, K, A]`.

    Args:
        mean: `[B, K, A]`.
        std: `[B, K, A]`.
        low: `[A]`.
        high: `[A]`.
        num_samples: S.
        generators: One a problem; problem b draws from `generators[b]` only, `[S, K, A]` numbers at once.
    """
    shape = (num_samples, *mean.shape[1:])
    noise = torch.stack(
        [
            torch.randn(shape, generator=g, device=g.device, dtype=mean.dtype).to(mean.device)
            for g in generators
        ]
    )
    return torch.clamp(mean[:, None] + std[:, None] * noise, low, high)


def usable_energy(energy: Tensor) -> Tensor:
    """Return energies `[B, S]` with NaN counted as +inf.

    Raises:
        PlannerError: If a problem has no energy below +inf.
    """
    energy = torch.where(torch.isnan(energy), torch.inf, energy)
    hopeless = (energy == torch.inf).all(dim=1)
    if hopeless.any():
        problems = torch.nonzero(hopeless).flatten().tolist()
        raise PlannerError(
            f"All {energy.shape[1]} samples of problem {', '.join(map(str, problems))} (of {energy.shape[0]},"
            " counted from 0) have a NaN or infinite energy; at least one must be finite. Check the "
            "observation, the goal and the world model's weights for NaN."
        )
    return energy


def select_elites(samples: Tensor, energy: Tensor, num_elites: int) -> list[Tensor]:
    """Return the best samples of each problem, `[E, K, A]`, best first.

    A problem with fewer than `num_elites` energies below +inf returns only those: a diverged sample
    is never an elite.

    Args:
        samples: `[B, S, K, A]`.
        energy: `[B, S]`, without NaN.
        num_elites: E.
    """
    elites = []
    for problem_samples, problem_energy in zip(samples, energy, strict=True):
        lowest = torch.topk(problem_energy, num_elites, largest=False)
        elites.append(problem_samples[lowest.indices[lowest.values < torch.inf]])
    return elites


def fit_gaussian(elites: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation (Bessel-corrected; 0 for a single elite), `[B, K, A]` each."""
    mean = torch.stack([e.mean(dim=0) for e in elites])
    std = torch.stack([e.std(dim=0) if len(e) > 1 else torch.zeros_like(e[0]) for e in elites])
    return mean, std
