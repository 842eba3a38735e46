"""Action bounds: the model's, fixed axes, actions being executed, step limits. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from planners.checks import check_data
from planners.errors import PlannerError
from planners.number_checks import is_number, is_sequence, to_python
from planners.protocols import Context, HoldingWorldModel, WorldModel, action_type

Fixed: TypeAlias = Mapping[int, float | Sequence[float | None] | Tensor | np.ndarray | str]
"""Axis of the action to its value: one number for all steps, or one for each step, `[K]`, None where it is free.

`HOLD` instead of a number keeps the axis at the value of the model's hold action.
"""

HOLD = "hold"

ROUNDING = 1e-6
"""Tolerance for bounds that were stored in float32."""


class Box(NamedTuple):
    """Action bounds of every step, `[K, A]`, or of every step of B problems, `[B, K, A]`.

    Attributes:
        low: Lowest actions.
        high: Highest actions.
        start: The actions before the first step, `[B, A]`; None if the change between steps is not limited.
        step: Largest change of an action from one step to the next, and from `start` to the first step, `[A]`.
    """

    low: Tensor
    high: Tensor
    start: Tensor | None = None
    step: Tensor | None = None

    @property
    def centre(self) -> Tensor:
        """The middle of the bounds, the shape of `low`."""
        return (self.low + self.high) / 2

    @property
    def half_width(self) -> Tensor:
        """Half of the width of the bounds, the shape of `low`; 0 where an action is fixed."""
        return (self.high - self.low) / 2

    def clamp(self, actions: Tensor) -> Tensor:
        """Return actions `[..., K, A]` clipped to the box; for a box of B problems, actions `[B, K, A]`.

        Step limits are applied from the first step to the last: each action is clipped to the range around the clipped
        action before it.
        """
        inside = torch.clamp(actions, self.low, self.high)
        if self.start is None or self.step is None:
            return inside
        before, found = self.start, []
        for k, action in enumerate(inside.unbind(dim=-2)):
            near = torch.clamp(action, before - self.step, before + self.step)
            # Fixed actions do not change.
            before = torch.clamp(near, self.low[..., k, :], self.high[..., k, :])
            found.append(before)
        return torch.stack(found, dim=-2)

    def per_sample(self) -> Box:
        """Return the box of problems with an axis for samples, `[B, 1, K, A]`."""
        start = None if self.start is None else self.start.unsqueeze(1)
        return Box(self.low.unsqueeze(1), self.high.unsqueeze(1), start, self.step)


def read_bounds(model: WorldModel) -> tuple[Tensor, Tensor]:
    """Return the model's `action_low` and `action_high`, `[A]` each.

    Raises:
        PlannerError: If they are not finite vectors of one length with low <= high.
    """
    low, high = (_read_bound(name, getattr(model, name, None)) for name in ("action_low", "action_high"))
    if low.device != high.device:
        raise PlannerError(
            f"The world model's bounds are on {low.device} and {high.device}; allowed is one device. Move them there."
        )
    wider = torch.promote_types(low.dtype, high.dtype)
    low, high = low.to(wider), high.to(wider)
    fits = low.ndim == 1 and len(low) > 0 and low.shape == high.shape
    if not fits or not bool((torch.isfinite(low) & torch.isfinite(high) & (low <= high)).all()):
        raise PlannerError(
            f"The world model's bounds are action_low={low.tolist()} and action_high={high.tolist()}; allowed "
            "are two finite vectors of the same length with low <= high. Set them to the robot's limits."
        )
    return low, high


def _read_bound(name: str, got: object) -> Tensor:
    """Return a bound `[A]` as floating-point numbers."""
    bound = check_data(f"The world model's {name}", got, "[A]").detach()
    return bound if bound.is_floating_point() else bound.to(torch.get_default_dtype())


FixedValues: TypeAlias = float | tuple[float | None, ...] | str
"""The value that an axis is fixed at, or one for each step, as Python numbers; or `HOLD`."""


def read_fixed(fixed: Fixed | None) -> dict[int, FixedValues]:
    """Return fixed axes and their values, a scalar or `[K]`, as Python numbers.

    Raises:
        PlannerError: If `fixed` is not a mapping of whole numbers to numbers.
    """
    if fixed is not None and not isinstance(fixed, Mapping):
        raise PlannerError(
            f"fixed is {fixed!r}; allowed is None or a mapping of an action's axes to values, as {{3: 0.0}}. Change "
            "fixed."
        )
    return {_read_axis(axis): _read_values(axis, values) for axis, values in (fixed or {}).items()}


def make_box(model: WorldModel, horizon: int, fixed: Fixed | None) -> Box:
    """Return the bounds of every step `[K, A]`: the model's, with low equal to high where an action is fixed.

    Raises:
        PlannerError: If the model's bounds are not valid, or a fixed value is outside of them.
    """
    bounds = read_bounds(model)
    low, high = (bound.expand(horizon, -1).clone() for bound in bounds)
    for axis, values in read_fixed(fixed).items():
        if values == HOLD:
            _check_axis(axis, len(bounds[0]))
            continue  # its value depends on the context
        for step, value in enumerate(_by_step(axis, values, horizon, len(bounds[0]))):
            if value is None:
                continue
            _check_value(axis, value, float(bounds[0][axis]), float(bounds[1][axis]))
            low[step, axis] = high[step, axis] = value
    return Box(torch.clamp(low, *bounds), torch.clamp(high, *bounds))


def with_prefix(
    model: WorldModel, box: Box, prefix: Tensor | None, batch: int, hold: Tensor | None = None
) -> Box:
    """Return the bounds of B problems `[B, K, A]`, with the first steps fixed at the actions `prefix [B, J, A]`.

    Raises:
        PlannerError: If the prefix has another shape, leaves no step to plan, or is outside of the model's bounds;
            these are extended to the `hold` action `[B, A]` where that is outside.
    """
    low, high = (bound.expand(batch, *bound.shape).clone() for bound in box[:2])
    if prefix is None:
        return Box(low, high)
    steps, size = box.low.shape
    check_data("prefix", prefix, "[B, J, A]")
    fits = prefix.ndim == 3 and len(prefix) == batch and prefix.shape[2] == size
    if not fits or not 0 < prefix.shape[1] < steps:
        raise PlannerError(
            f"prefix has shape {tuple(prefix.shape)}; allowed is [B, J, A] with B={batch}, A={size} and J from 1 to "
            f"{steps - 1}, one less than the horizon. Pass the actions that are being executed, or raise the horizon."
        )
    if not bool(torch.isfinite(prefix).all()):
        raise PlannerError(
            "prefix has NaN or infinite entries; allowed are finite actions. Pass none instead."
        )
    bounds = _extended(*read_bounds(model), hold)
    _check_inside(prefix.to(low), *bounds)
    executed = torch.clamp(prefix.to(low), *bounds)
    low, high = (torch.cat([executed, bound[:, prefix.shape[1] :]], dim=1) for bound in (low, high))
    return Box(low, high)


def read_hold(model: WorldModel, context: Context, batch: int) -> Tensor | None:
    """Return the actions `[B, A]` that hold the robots of a context, if the model's actions are targets; else None.

    Raises:
        PlannerError: If `hold_action` does not return finite actions of that shape.
    """
    if action_type(model) != "absolute" or not isinstance(model, HoldingWorldModel):
        return None
    hold = model.hold_action(context)
    if hold is None:
        return None
    check_data("The world model's hold_action", hold, "[B, A]")
    low = read_bounds(model)[0]
    expected = (batch, len(low))
    if tuple(hold.shape) != expected or not bool(torch.isfinite(hold).all()):
        raise PlannerError(
            f"The world model's hold_action has shape {tuple(hold.shape)}"
            f"{'' if bool(torch.isfinite(hold).all()) else ' and is not finite'}; allowed is a finite action for each "
            f"problem, {expected}. Return the targets at which the robots stay where they are."
        )
    return hold.detach().to(low, copy=True)  # the model may modify its own tensor


def limit_steps(
    model: WorldModel, box: Box, hold: Tensor | None, fixed: Mapping[int, FixedValues], prefix: Tensor | None
) -> Box:
    """Return the bounds of targets, limited by the model's largest step from `hold [B, A]` and between the steps.

    The box is `[B, K, A]`, a prefix `[B, J, A]`. Where the robot is outside of the bounds, targets may lie between the
    robot and the bounds. After a prefix the limits are relative to its last action. Without a hold action the bounds
    are returned as they are, with held axes at zero.

    Raises:
        PlannerError: If an axis is fixed at its hold action and there is none.
    """
    held = [axis for axis, values in fixed.items() if values == HOLD]
    if hold is None:
        return _held_at_zero(model, box, held)
    done = 0 if prefix is None else prefix.shape[1]
    anchor = (hold if prefix is None else prefix[:, -1].to(hold)).unsqueeze(1)
    limit = _step_limit(model)
    steps = torch.arange(1, box.low.shape[1] - done + 1, device=hold.device)[:, None]
    reach = torch.where(torch.isinf(limit), torch.inf, limit * steps)
    low, high = box.low.clone(), box.high.clone()
    free = _free(box, fixed)[done:]
    lowest, highest = _extended(low[:, done:], high[:, done:], anchor[:, 0])
    low[:, done:] = torch.where(free, torch.maximum(lowest, anchor - reach), low[:, done:])
    high[:, done:] = torch.where(free, torch.minimum(highest, anchor + reach), high[:, done:])
    for edge in (low, high):
        edge[:, done:, held] = anchor[..., held]
    return Box(low, high, hold, limit)


def _free(box: Box, fixed: Mapping[int, FixedValues]) -> Tensor:
    """Return which entries of each step are not fixed by the user, bool `[K, A]`."""
    free = torch.ones(box.low.shape[-2:], dtype=torch.bool, device=box.low.device)
    for axis, values in fixed.items():
        for step in range(len(free)):
            free[step, axis] = values == HOLD or (isinstance(values, tuple) and values[step] is None)
    return free


def _held_at_zero(model: WorldModel, box: Box, held: Sequence[int]) -> Box:
    """Return the bounds with the axes `held` at zero, or at the nearest allowed value."""
    if not held:
        return box
    if action_type(model) == "absolute":
        raise PlannerError(
            f"fixed holds axis {', '.join(map(str, held))}, and the world model, whose actions are "
            "targets, has no hold_action. Give the axes' values."
        )
    low, high = read_bounds(model)
    zeros = torch.zeros_like(low).clamp(low, high)
    for edge in box[:2]:
        edge[..., held] = zeros[list(held)]
    return box


def _step_limit(model: WorldModel) -> Tensor:
    """Return the model's largest change from one action to the next, `[A]`, +inf where it is not limited.

    Raises:
        PlannerError: If the model's `action_step` has another shape or negative entries.
    """
    low = read_bounds(model)[0]
    limit = getattr(model, "action_step", None)
    if limit is None:
        return torch.full_like(low, torch.inf)
    check_data("The world model's action_step", limit, "[A]")
    if limit.shape != low.shape or not bool((limit >= 0).all()):
        raise PlannerError(
            f"The world model's action_step is {limit.tolist()}; allowed are {len(low)} numbers of at least 0, +inf "
            "for no limit. Set it to what a joint may move in a step."
        )
    return limit.to(low)


def _extended(low: Tensor, high: Tensor, hold: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return bounds `[A]` or `[B, K, A]`, extended so that `hold [B, A]` is inside."""
    if hold is None:
        return low, high
    at = hold.to(low).unsqueeze(1)
    return torch.minimum(low, at), torch.maximum(high, at)


def _read_axis(axis: object) -> int:
    if not isinstance(axis, Integral) or isinstance(axis, bool):
        raise PlannerError(
            f"fixed names axis {axis!r}; allowed are whole numbers, counted from 0. Change the axis."
        )
    return int(axis)


def _read_values(axis: int, values: Any) -> FixedValues:
    if isinstance(values, str) and values == HOLD:
        return HOLD
    read = to_python(values)
    numbers = tuple(map(to_python, read)) if is_sequence(read) else (read,)
    if not all(is_number(n) or (n is None and is_sequence(read)) for n in numbers):
        raise PlannerError(
            f"fixed sets axis {axis} to {values!r}; allowed is a finite number, or one for each step (None where it is "
            "free). Change the value."
        )
    return numbers if is_sequence(read) else numbers[0]


def _check_axis(axis: int, size: int) -> None:
    if not 0 <= axis < size:
        raise PlannerError(
            f"fixed names axis {axis}, and an action has {size} numbers, counted from 0. Name one of them."
        )


def _by_step(axis: int, values: FixedValues, horizon: int, size: int) -> tuple[float | None, ...]:
    _check_axis(axis, size)
    if not isinstance(values, tuple):
        assert not isinstance(values, str)
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
            f"prefix leaves the world model's bounds on axis {', '.join(map(str, axes))}; actions that are being "
            "executed must be inside. Clip them, or wait until they have been executed."
        )


def _check_value(axis: int, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low - ROUNDING <= value <= high + ROUNDING):
        raise PlannerError(
            f"fixed sets axis {axis} to {value}; the world model's bounds there are {low:g} to {high:g}. Choose a "
            "value between them."
        )
