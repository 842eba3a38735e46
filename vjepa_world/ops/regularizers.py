"""Regularizers that prevent collapse, on a batch of feature vectors: VICReg's terms and SIGReg.

Each is a function of means over the rows. With several processes, `mean` averages these means over processes, and the
term is that of the *global* batch, the same number in every process. Its gradient is right if the backward of `mean`
averages the gradients of all processes, as that of a mean does, and if the gradients of the weights are then averaged
over processes, as DistributedDataParallel does. Every process must have the same number of rows.

Legend: M rows of a process, n = M * processes rows in all, D width, K directions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vjepa_world.errors import ConfigError

#: Averages a tensor over the processes.
Mean = Callable[[Tensor], Tensor]


def _one_process(x: Tensor) -> Tensor:
    return x


def variance_hinge(
    features: Tensor, *, gamma: float = 1.0, eps: float = 1e-4, mean: Mean = _one_process, processes: int = 1
) -> Tensor:
    r"""Return :math:`\frac1D \sum_j \max\{0, \gamma - \sqrt{\mathrm{Var}(z_j) + \epsilon}\}`, the variance over n - 1.

    Args:
        features: `[M, D]`.
        gamma: Standard deviation :math:`\gamma` that no channel should fall below.
        eps: :math:`\epsilon`, against an infinite gradient at no variance.
        mean: Averages over processes, see the module.
        processes: Number of processes that `mean` averages over.

    Raises:
        ConfigError: If there are fewer than two rows.

    Source: VICReg (arXiv:2105.04906, equation 1).
    """
    with torch.autocast(features.device.type, enabled=False):
        centred, scale = _centred(features, mean, processes)
        variance = mean(centred.square().mean(dim=0)) * scale
        return (gamma - (variance + eps).sqrt()).relu().mean()


def covariance_penalty(features: Tensor, *, mean: Mean = _one_process, processes: int = 1) -> Tensor:
    r"""Return :math:`\frac1D \sum_{i \neq j} C_{ij}^2` with C the covariance of the channels, over n - 1.

    Args:
        features: `[M, D]`.
        mean: Averages over processes, see the module.
        processes: Number of processes that `mean` averages over.

    Raises:
        ConfigError: If there are fewer than two rows.

    Source: VICReg (arXiv:2105.04906, equations 3 and 4).
    """
    with torch.autocast(features.device.type, enabled=False):
        centred, scale = _centred(features, mean, processes)
        covariance = mean(centred.mT @ centred / len(centred)) * scale
        return (covariance.square().sum() - covariance.diagonal().square().sum()) / features.shape[1]


def random_directions(width: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` unit vectors, uniform on the sphere, as the columns of `[D, K]`; the same in every process."""
    columns = torch.randn(width, count, generator=generator)
    return columns / columns.norm(dim=0)


def sigreg(
    features: Tensor,
    directions: Tensor,
    *,
    knots: int = 17,
    limit: float = 3.0,
    mean: Mean = _one_process,
    processes: int = 1,
) -> Tensor:
    r"""Return how far the features are from an isotropic Gaussian: the Epps-Pulley statistic of their projections.

    .. math::
        \frac1K \sum_a n \int_{-\ell}^{\ell} e^{-t^2/2}
        \left| \tfrac1n \textstyle\sum_m e^{i t a^\top z_m} - e^{-t^2/2} \right|^2 dt

    by the trapezoidal rule at `knots` points of :math:`[0, \ell]`, twice (the integrand is even). Rows that are
    independent and N(0, 1) along each direction give :math:`\int e^{-t^2/2} (1 - e^{-t^2}) dt`, about 1.06, whatever n.

    Args:
        features: `[M, D]`.
        directions: Unit vectors a, `[D, K]`, from :func:`random_directions`.
        knots: Points of the rule, at least 2.
        limit: :math:`\ell`.
        mean: Averages over processes, see the module.
        processes: Number of processes that `mean` averages over.

    Source: LeJEPA (arXiv:2511.08544).
    """
    with torch.autocast(features.device.type, enabled=False):
        features = _precise(features)
        at = torch.linspace(0.0, limit, knots, dtype=features.dtype, device=features.device)
        gaussian = (-at.square() / 2).exp().unsqueeze(1)
        widths = torch.full_like(gaussian, 2 * limit / (knots - 1))
        widths[[0, -1]] /= 2
        waves = _MeanWaves.apply(features @ directions.to(features), at)
        cosine, sine = mean(waves)
        error = (cosine - gaussian).square() + sine.square()
        return len(features) * processes * (widths * gaussian * error).sum(dim=0).mean()


class _MeanWaves(torch.autograd.Function):
    r"""Means over m of :math:`\cos t x_{mk}` and :math:`\sin t x_{mk}`, `[2, knots, K]`.

    It keeps x alone for the backward pass; autograd would keep an angle for each knot.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, at: Tensor) -> Tensor:
        ctx.save_for_backward(x, at)
        angles = (x * t for t in at)
        return torch.stack([torch.stack((a.cos().mean(dim=0), a.sin().mean(dim=0))) for a in angles], dim=1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, at = ctx.saved_tensors
        gradient = torch.zeros_like(x)
        for t, of_cosine, of_sine in zip(at, *grads[0], strict=True):
            angle = x * t
            gradient += t * (of_sine * angle.cos() - of_cosine * angle.sin())
        return gradient / len(x), None


def _precise(features: Tensor) -> Tensor:
    """Return half-precision features as float32."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _centred(features: Tensor, mean: Mean, processes: int) -> tuple[Tensor, float]:
    """Return the features less the mean of all rows, and n / (n - 1)."""
    rows = len(features) * processes
    if rows < 2:
        raise ConfigError(
            f"{rows} feature vector has no variance; the variance and covariance terms need a batch of two or more."
        )
    features = _precise(features)
    return features - mean(features.mean(dim=0)), rows / (rows - 1)
