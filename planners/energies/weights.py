"""Weights and discounts of energies. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from planners.errors import PlannerError
from planners.number_checks import check_choice

Numbers: TypeAlias = Tensor | Sequence[Any]
"""A tensor, or a list of numbers."""

Norm: TypeAlias = Literal["l1", "l2"]
"""The sum of absolute values, or the square root of the sum of squares."""


def read_numbers(owner: str, name: str, got: Numbers, shapes: Sequence[str]) -> Tensor:
    """Return finite numbers as a new float32 tensor of the same shape.

    Args:
        owner: The class whose argument it is, for the error.
        name: The name of the argument.
        got: The value.
        shapes: The allowed shapes: with one axis, with two axes, ...

    Raises:
        PlannerError: If they are not numbers, not finite, or have another shape.
    """
    try:
        read = torch.as_tensor(got, dtype=torch.float32).detach().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise PlannerError(
            f"{owner} got {name}={got!r}; it allows finite numbers of shape {' or '.join(shapes)}. Change {name}."
        ) from error
    if not 1 <= read.ndim <= len(shapes) or not read.numel() or not bool(torch.isfinite(read).all()):
        raise PlannerError(
            f"{owner} got {name}={read.tolist()} of shape {tuple(read.shape)}; it allows finite numbers of shape "
            f"{' or '.join(shapes)}. Change {name}."
        )
    return read


def read_weights(owner: str, got: Numbers | None, shapes: Sequence[str]) -> Tensor | None:
    """Return weights of one of the allowed `shapes`, such as `[A]`, as a new float32 tensor; None for none.

    Raises:
        PlannerError: If one is negative or not finite, or all weights of a problem are 0.
    """
    if got is None:
        return None
    weights = read_numbers(owner, "weights", got, shapes)
    if bool((weights < 0).any()) or not bool((weights > 0).any(dim=-1).all()):
        raise PlannerError(
            f"{owner} got weights from {weights.min():g} to {weights.max():g}; it allows finite numbers of at least 0, "
            "of which at least one, for each problem, is above 0. Change weights."
        )
    return weights


def read_discount(owner: str, got: float) -> float:
    """Return `got` if it is a number from 0 to 1."""
    if not isinstance(got, Real) or not 0.0 <= got <= 1.0:
        raise PlannerError(
            f"{owner} got discount={got}; it allows numbers from 0 (last step only) to 1 (all steps alike). Choose one "
            "in that range."
        )
    return float(got)


def read_norm(owner: str, got: Norm) -> Norm:
    """Return `got` if it is the name of a norm."""
    return check_choice(f"{owner}'s norm", got, ("l1", "l2"))


def check_size(owner: str, name: str, numbers: Tensor | None, size: int, axis: str) -> None:
    """Check the length of the last axis of an argument.

    Args:
        owner: The class whose argument it is, for the error.
        name: The name of the argument.
        numbers: `[..., size]`; None for none.
        size: The required length.
        axis: The name of the entries, in the plural.
    """
    if numbers is not None and numbers.shape[-1] != size:
        raise PlannerError(
            f"{owner} has {name} of shape {tuple(numbers.shape)} for {size} {axis}; it allows as many {name} as "
            f"{axis}. Change {name}."
        )


def per_problem(owner: str, name: str, numbers: Tensor, like: Tensor) -> Sequence[Tensor]:
    """Return numbers `[X]` or `[B, X]` as B tensors `[X]`, one for each problem of `like [B, ...]`, on its device.

    Raises:
        PlannerError: If they are for another number of problems.
    """
    moved, batch = numbers.to(like.device), len(like)
    if moved.ndim == 1:
        return (moved,) * batch
    if len(moved) != batch:
        raise PlannerError(
            f"{owner} has {name} of {len(moved)} problems and was called with {batch}; it allows one row for each "
            f"problem, or one axis less for all of them. Change {name}."
        )
    return moved.unbind()


def length(numbers: Tensor, norm: Norm, weights: Tensor | None) -> Tensor:
    r"""Return :math:`\lVert w \circ x \rVert` of numbers `[..., X]`, shape `[...]`; its gradient at 0 is 0."""
    weighted = numbers if weights is None else numbers * weights.to(numbers.device)
    return torch.linalg.vector_norm(weighted, ord=1 if norm == "l1" else 2, dim=-1)


def at_least_float32(numbers: Tensor) -> Tensor:
    """Return numbers of any shape in float32, or unchanged if they are float64."""
    return numbers if numbers.dtype == torch.float64 else numbers.float()


def weighted_steps(steps: Tensor, discount: float) -> Tensor:
    """Return the steps of `[B, S, K, ...]` whose weight is not 0, as a view: all, or `[B, S, 1, ...]`, the last."""
    return steps[:, :, -1:] if discount == 0.0 else steps


def step_weights(discount: float, steps: int, device: torch.device) -> Tensor:
    r"""Return :math:`\gamma^{K-k}`, float32 `[K]`."""
    return torch.tensor(
        [discount ** (steps - 1 - k) for k in range(steps)], dtype=torch.float32, device=device
    )


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the mean `[...]` over the last axis of values `[..., X]`, with weights `[X]`."""
    return (values * weights).sum(dim=-1) / weights.sum()
