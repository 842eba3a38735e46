"""Noise, elites and Gaussians for planners that sample.

Reductions are computed one problem at a time, so that no result depends on the batch.
Shapes as in `planners.protocols`; E elites.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from planners.bounds import Box
from planners.errors import PlannerError


class Gaussian(NamedTuple):
    """An independent normal distribution over every number of a sequence: `mean`, `std` `[B, K, A]`."""

    mean: Tensor
    std: Tensor


def make_generators(seeds: Sequence[int]) -> list[Generator]:
    """Return one CPU generator for each seed. Noise from the CPU is the same on whatever device the planner runs.

    Raises:
        PlannerError: If the seeds are not whole numbers, or too large.
    """
    try:
        return [torch.Generator(device="cpu").manual_seed(seed) for seed in seeds]
    except (TypeError, ValueError, RuntimeError) as error:
        raise PlannerError(
            f"seeds is {seeds!r}; allowed is a list of whole numbers, one for each problem, from -2**63 to 2**64 - 1. "
            "Change seeds."
        ) from error


def white_noise(like: Tensor, num_samples: int, generators: Sequence[Generator]) -> Tensor:
    """Return standard normal numbers `[B, S, K, A]` for a mean `like [B, K, A]`.

    Problem b draws from `generators[b]` alone, `[S, K, A]` numbers at once.
    """
    shape = (num_samples, *like.shape[1:])
    drawn = [torch.randn(shape, generator=g, device=g.device, dtype=like.dtype) for g in generators]
    return torch.stack([noise.to(like.device) for noise in drawn])


def coloured_noise(
    like: Tensor, num_samples: int, generators: Sequence[Generator], exponent: float
) -> Tensor:
    r"""Return normal numbers `[B, S, K, A]` of unit variance whose power falls as :math:`f^{-\beta}` along the steps.

    A spectrum of independent normal numbers is scaled by :math:`f^{-\beta/2}` (the constant part as the lowest
    frequency) and transformed back into time. With :math:`\beta = 0` the noise is white; larger exponents make
    smoother sequences.

    Args:
        like: The mean, `[B, K, A]`.
        num_samples: S.
        generators: One a problem.
        exponent: :math:`\beta`, at least 0.

    Source:
        Timmer and Koenig (1995); in planning Pinneri et al. (arXiv:2008.06389).
    """
    steps, size = like.shape[1:]
    if exponent == 0 or steps == 1:
        return white_noise(like, num_samples, generators)
    frequency = torch.fft.rfftfreq(steps, dtype=torch.float32)
    frequency[0] = frequency[1]
    scale = frequency ** (-exponent / 2)
    # Each frequency but the constant and the highest one of an even number stands for two.
    weights = torch.full_like(scale, 2.0)
    weights[0] = 1.0
    if steps % 2 == 0:
        weights[-1] = 1.0
    scale = scale / (weights * scale.square()).sum().sqrt()
    drawn = []
    for generator in generators:
        shape = (2, num_samples, size, len(scale))
        real, imaginary = torch.randn(shape, generator=generator, device=generator.device).cpu()
        single = weights == 1
        real = torch.where(single, real, real * 0.5**0.5)
        imaginary = torch.where(single, 0.0, imaginary * 0.5**0.5)
        series = torch.fft.irfft(torch.complex(real, imaginary) * scale, n=steps, norm="forward")
        drawn.append(series.transpose(1, 2).to(like))
    return torch.stack(drawn)


def sample_uniform(box: Box, num_samples: int, generators: Sequence[Generator]) -> Tensor:
    """Return samples `[B, S, K, A]`, uniform in the box `[B, K, A]`; problem b draws from `generators[b]` alone."""
    shape = (num_samples, *box.low.shape[1:])
    drawn = [torch.rand(shape, generator=g, device=g.device, dtype=box.low.dtype) for g in generators]
    edges = box.per_sample()
    share = torch.stack([numbers.to(box.low.device) for numbers in drawn])
    return edges.clamp(edges.low + (edges.high - edges.low) * share)


def sample_gaussian(gaussian: Gaussian, noise: Tensor, box: Box) -> Tensor:
    r"""Return samples :math:`a = \mathrm{clip}(\mu + \sigma \epsilon, low, high)` for noise `[B, S, K, A]`."""
    return box.per_sample().clamp(gaussian.mean[:, None] + gaussian.std[:, None] * noise)


def check_any_finite(energy: Tensor) -> None:
    """Check that every problem of energies `[B, S]` has one below +inf.

    Raises:
        PlannerError: If a problem has none.
    """
    failed = (energy == torch.inf).all(dim=1)
    if failed.any():
        problems = torch.nonzero(failed).flatten().tolist()
        raise PlannerError(
            f"All {energy.shape[1]} samples of problem {', '.join(map(str, problems))} (of {energy.shape[0]},"
            " counted from 0) have a NaN or infinite energy; at least one must be finite. Check the "
            "observation, the goal and the world model's weights for NaN."
        )


def elites_of(energy: Tensor, num_elites: int) -> Tensor:
    """Return the indices of each problem's best samples, best first, int64 `[B, E]`, padded with -1.

    A problem with fewer than `num_elites` finite energies has only those: a diverged sample is never an elite.

    Args:
        energy: `[B, S]`, without NaN.
        num_elites: E; at most S are returned.
    """
    lowest = torch.topk(energy, min(num_elites, energy.shape[1]), dim=1, largest=False)
    return torch.where(lowest.values < torch.inf, lowest.indices, -1)


def mask_of(elites: Tensor, num_samples: int) -> Tensor:
    """Return indices `[B, E]` (padded with -1) as a mask, bool `[B, S]`."""
    mask = torch.zeros(len(elites), num_samples + 1, dtype=torch.bool, device=elites.device)
    return mask.scatter(1, torch.where(elites < 0, num_samples, elites), True)[:, :num_samples]


def fit_gaussian(samples: Tensor, elites: Tensor) -> Gaussian:
    """Return mean and standard deviation `[B, K, A]` of the elites (Bessel-corrected; 0 for a single one).

    Args:
        samples: `[B, S, K, A]`.
        elites: Indices `[B, E]`, padded with -1.
    """
    groups = [s[indices[indices >= 0]] for s, indices in zip(samples, elites, strict=True)]
    mean = torch.stack([group.mean(dim=0) for group in groups])
    std = torch.stack([g.std(dim=0) if len(g) > 1 else torch.zeros_like(g[0]) for g in groups])
    return Gaussian(mean, std)
