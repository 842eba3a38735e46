"""Where actions may be: bounds, what is held fixed, what is under way. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from planners.checks import check_tensor, is_number, listed, plain
from planners.errors import PlannerError
from planners.protocols import WorldModel

Fixed: TypeAlias = Mapping[int, float | Sequence[float | None] | Tensor | np.ndarray]
"""Axis of the action to its value: one number for all steps, or one for each step, None where it is free."""

ROUNDING = 1e-6
"""A bound that was stored in float32 may be this far from the number that is meant."""


class Box(NamedTuple):
    """Lowest and highest action of every step, `[K, A]`, or of every problem's, `[B, K, A]`."""

    low: Tensor
    high: Tensor

    @property
    def centre(self) -> Tensor:
        """Halfway."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> Tensor:
        """Half-widths; 0 where an action is fixed."""
        return (self.high - self.low) / 2

    def clamp(self, actions: Tensor) -> Tensor:
        """Return actions `[..., K, A]` (for a box of problems `[B, K, A]`), each at its nearest allowed value."""
        return torch.clamp(actions, self.low, self.high)

    def per_sample(self) -> Box:
        """Return the box of problems with an axis for samples, `[B, 1, K, A]`."""
        return Box(self.low.unsqueeze(1), self.high.unsqueeze(1))


def read_box(model: WorldModel) -> tuple[Tensor, Tensor]:
    """Return the model's `action_low` and `action_high`, `[A]` each.

    Raises:
        PlannerError: If they do not span a box.
    """
    low, high = model.action_low, model.action_high
    fits = low.ndim == 1 and len(low) > 0 and low.shape == high.shape
    if not fits or not bool((torch.isfinite(low) & torch.isfinite(high) & (low <= high)).all()):
        raise PlannerError(
            f"The world model's bounds are action_low={low.tolist()} and action_high={high.tolist()}; allowed "
            "are two finite vectors of the same length with low <= high. Set them to the robot's limits."
        )
    return low, high


def read_fixed(fixed: Fixed | None) -> dict[int, float | tuple[float | None, ...]]:
    """Return what is fixed as plain numbers.

    Raises:
        PlannerError: If it is no mapping of whole numbers to numbers.
    """
    if fixed is not None and not isinstance(fixed, Mapping):
        raise PlannerError(
            f"fixed is {fixed!r}; allowed is None or a mapping of an action's axes to values, as {{3: 0.0}}. Change "
            "fixed."
        )
    return {_read_axis(axis): _read_values(axis, values) for axis, values in (fixed or {}).items()}


def make_box(model: WorldModel, horizon: int, fixed: Fixed | None) -> Box:
    """Return the box of every step `[K, A]`: the model's, shrunk to a point where an action is fixed.

    Raises:
        PlannerError: If the model's bounds are no box, or a fixed value has no place in it.
    """
    bounds = read_box(model)
    low, high = (bound.expand(horizon, -1).clone() for bound in bounds)
    for axis, values in read_fixed(fixed).items():
        for step, value in enumerate(_by_step(axis, values, horizon, len(bounds[0]))):
            if value is None:
                continue
            _check_value(axis, value, float(bounds[0][axis]), float(bounds[1][axis]))
            low[step, axis] = high[step, axis] = value
    return Box(*(torch.clamp(edge, *bounds) for edge in (low, high)))


def with_prefix(model: WorldModel, box: Box, prefix: Tensor | None, batch: int) -> Box:
    """Return the box of B problems `[B, K, A]`, whose first steps are the actions `prefix [B, J, A]`.

    Raises:
        PlannerError: If the prefix does not fit, leaves nothing to plan, or is outside the model's bounds.
    """
    low, high = (bound.expand(batch, *bound.shape) for bound in box)
    if prefix is None:
        return Box(low, high)
    steps, size = box.low.shape
    check_tensor("prefix", prefix, "[B, J, A]")
    fits = prefix.ndim == 3 and len(prefix) == batch and prefix.shape[2] == size
    if not fits or not 0 < prefix.shape[1] < steps:
        raise PlannerError(
            f"prefix has shape {tuple(prefix.shape)}; allowed is [B, J, A] with B={batch}, A={size} and J from 1 to "
            f"{steps - 1}, one less than the horizon. Pass the actions under way, or raise the horizon."
        )
    if not bool(torch.isfinite(prefix).all()):
        raise PlannerError(
            "prefix has NaN or infinite entries; allowed are finite actions. Pass none instead."
        )
    bounds = read_box(model)
    _check_inside(prefix.to(low), *bounds)
    under_way = torch.clamp(prefix.to(low), *bounds)
    return Box(*(torch.cat([under_way, bound[:, prefix.shape[1] :]], dim=1) for bound in (low, high)))


def _read_axis(axis: object) -> int:
    if not isinstance(axis, Integral) or isinstance(axis, bool):
        raise PlannerError(
            f"fixed names axis {axis!r}; allowed are whole numbers, counted from 0. Change the axis."
        )
    return int(axis)


def _read_values(axis: int, values: Any) -> float | tuple[float | None, ...]:
    read = plain(values)
    numbers = tuple(map(plain, read)) if listed(read) else (read,)
    if not all(is_number(n) or (n is None and listed(read)) for n in numbers):
        raise PlannerError(
            f"fixed sets axis {axis} to {values!r}; allowed is a finite number, or one for each step (None where it is "
            "free). Change the value."
        )
    return numbers if listed(read) else numbers[0]


def _by_step(
    axis: int, values: float | tuple[float | None, ...], horizon: int, size: int
) -> tuple[float | None, ...]:
    if not 0 <= axis < size:
        raise PlannerError(
            f"fixed names axis {axis}, and an action has {size} numbers, counted from 0. Name one of them."
        )
    if not isinstance(values, tuple):
        return (values,) * horizon
    if len(values) != horizon:
        raise PlannerError(
            f"fixed gives axis {axis} {len(values)} values; allowed is one number, or one for each of the "
            f"horizon's {horizon} steps (None where it is free). Change fixed or horizon."
        )
    return values


def _check_inside(prefix: Tensor, low: Tensor, high: Tensor) -> None:
    outside = (prefix < low - ROUNDING) | (prefix > high + ROUNDING)
    if outside.any():
        axes = torch.nonzero(outside.any(dim=0).any(dim=0)).flatten().tolist()
        raise PlannerError(
            f"prefix leaves the world model's bounds on axis {', '.join(map(str, axes))}; actions under way must be "
            "ones that the model may take. Clip them, or wait until they are over."
        )


def _check_value(axis: int, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low - ROUNDING <= value <= high + ROUNDING):
        raise PlannerError(
            f"fixed sets axis {axis} to {value}; the world model's bounds there are {low:g} to {high:g}. Choose a "
            "value between them."
        )
