"""Where actions may be: bounds, what is held fixed, what is under way. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from planners.checks import check_given, is_number, listed, plain
from planners.errors import PlannerError
from planners.protocols import Context, HoldingWorldModel, WorldModel, action_type

Fixed: TypeAlias = Mapping[int, float | Sequence[float | None] | Tensor | np.ndarray | str]
"""Axis of the action to its value: one number for all steps, or one for each step, None where it is free.

`HOLD` in place of a number keeps the axis as the model's hold action has it.
"""

HOLD = "hold"

ROUNDING = 1e-6
"""A bound that was stored in float32 may be this far from the number that is meant."""


class Box(NamedTuple):
    """Lowest and highest action of every step, `[K, A]`, or of every problem's, `[B, K, A]`.

    With a `step`, an action is no further than that from the one before, and the first no further from `start`.
    """

    low: Tensor
    high: Tensor
    start: Tensor | None = None
    step: Tensor | None = None

    @property
    def centre(self) -> Tensor:
        """Halfway."""
        return (self.low + self.high) / 2

    @property
    def half(self) -> Tensor:
        """Half-widths; 0 where an action is fixed."""
        return (self.high - self.low) / 2

    def clamp(self, actions: Tensor) -> Tensor:
        """Return actions `[..., K, A]` (for a box of problems `[B, K, A]`), each at its nearest allowed value.

        Steps are taken in turn: each is brought near enough to the allowed one before it.
        """
        inside = torch.clamp(actions, self.low, self.high)
        if self.start is None or self.step is None:
            return inside
        before, found = self.start, []
        for k, action in enumerate(inside.unbind(dim=-2)):
            near = torch.clamp(action, before - self.step, before + self.step)
            before = torch.clamp(near, self.low[..., k, :], self.high[..., k, :])  # what is fixed stays
            found.append(before)
        return torch.stack(found, dim=-2)

    def per_sample(self) -> Box:
        """Return the box of problems with an axis for samples, `[B, 1, K, A]`."""
        start = None if self.start is None else self.start.unsqueeze(1)
        return Box(self.low.unsqueeze(1), self.high.unsqueeze(1), start, self.step)


def read_box(model: WorldModel) -> tuple[Tensor, Tensor]:
    """Return the model's `action_low` and `action_high`, `[A]` each.

    Raises:
        PlannerError: If they do not span a box.
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
    """Return a bound as floating-point numbers; whole numbers are taken for the same ones."""
    bound = check_given(f"The world model's {name}", got, "[A]").detach()
    return bound if bound.is_floating_point() else bound.to(torch.get_default_dtype())


Values: TypeAlias = float | tuple[float | None, ...] | str
"""What an axis is fixed at, as plain numbers."""


def read_fixed(fixed: Fixed | None) -> dict[int, Values]:
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
        if values == HOLD:
            _check_axis(axis, len(bounds[0]))
            continue  # where that is, a context says
        for step, value in enumerate(_by_step(axis, values, horizon, len(bounds[0]))):
            if value is None:
                continue
            _check_value(axis, value, float(bounds[0][axis]), float(bounds[1][axis]))
            low[step, axis] = high[step, axis] = value
    return Box(torch.clamp(low, *bounds), torch.clamp(high, *bounds))


def with_prefix(
    model: WorldModel, box: Box, prefix: Tensor | None, batch: int, hold: Tensor | None = None
) -> Box:
    """Return the box of B problems `[B, K, A]`, whose first steps are the actions `prefix [B, J, A]`.

    Raises:
        PlannerError: If the prefix does not fit, leaves nothing to plan, or is outside the model's bounds; these are
            widened where the `hold` action `[B, A]` is outside.
    """
    low, high = (bound.expand(batch, *bound.shape).clone() for bound in box[:2])
    if prefix is None:
        return Box(low, high)
    steps, size = box.low.shape
    check_given("prefix", prefix, "[B, J, A]")
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
    bounds = _widened(*read_box(model), hold)
    _check_inside(prefix.to(low), *bounds)
    under_way = torch.clamp(prefix.to(low), *bounds)
    low, high = (torch.cat([under_way, bound[:, prefix.shape[1] :]], dim=1) for bound in (low, high))
    return Box(low, high)


def read_hold(model: WorldModel, context: Context, batch: int) -> Tensor | None:
    """Return the actions `[B, A]` that hold the robots of a context, where the model's are targets; None elsewhere.

    Raises:
        PlannerError: If the model returns something else.
    """
    if action_type(model) != "absolute" or not isinstance(model, HoldingWorldModel):
        return None
    hold = model.hold_action(context)
    if hold is None:
        return None
    check_given("The world model's hold_action", hold, "[B, A]")
    low = read_box(model)[0]
    expected = (batch, len(low))
    if tuple(hold.shape) != expected or not bool(torch.isfinite(hold).all()):
        raise PlannerError(
            f"The world model's hold_action has shape {tuple(hold.shape)}"
            f"{'' if bool(torch.isfinite(hold).all()) else ' and is not finite'}; allowed is a finite action for each "
            f"problem, {expected}. Return the targets at which the robots stay where they are."
        )
    return hold.detach().to(low, copy=True)  # the model may write over its own


def within_reach(
    model: WorldModel, box: Box, hold: Tensor | None, fixed: Mapping[int, Values], prefix: Tensor | None
) -> Box:
    """Return the box of targets: no step further than the model allows from `hold [B, A]` and the step before.

    Where the robot is outside of the bounds, targets may lie between it and the bounds. After a prefix they go on from
    its last action.

    Raises:
        PlannerError: If an axis is fixed at its hold action and there is none.
    """
    held = [axis for axis, values in fixed.items() if values == HOLD]
    if hold is None:
        return _at_rest(model, box, held)
    done = 0 if prefix is None else prefix.shape[1]
    anchor = (hold if prefix is None else prefix[:, -1].to(hold)).unsqueeze(1)
    limit = _step_limit(model)
    steps = torch.arange(1, box.low.shape[1] - done + 1, device=hold.device)[:, None]
    reach = torch.where(torch.isinf(limit), torch.inf, limit * steps)
    low, high = box.low.clone(), box.high.clone()
    free = _free(box, fixed)[done:]
    lowest, highest = _widened(low[:, done:], high[:, done:], anchor[:, 0])
    low[:, done:] = torch.where(free, torch.maximum(lowest, anchor - reach), low[:, done:])
    high[:, done:] = torch.where(free, torch.minimum(highest, anchor + reach), high[:, done:])
    for edge in (low, high):
        edge[:, done:, held] = anchor[..., held]
    return Box(low, high, hold, limit)


def _free(box: Box, fixed: Mapping[int, Values]) -> Tensor:
    """Return which numbers of each step are not fixed at a value, bool `[K, A]`; bounds that meet fix nothing."""
    free = torch.ones(box.low.shape[-2:], dtype=torch.bool, device=box.low.device)
    for axis, values in fixed.items():
        for step in range(len(free)):
            free[step, axis] = values == HOLD or (isinstance(values, tuple) and values[step] is None)
    return free


def _at_rest(model: WorldModel, box: Box, held: Sequence[int]) -> Box:
    """Return the box of changes, where an axis that holds is at zero."""
    if not held:
        return box
    if action_type(model) == "absolute":
        raise PlannerError(
            f"fixed holds axis {', '.join(map(str, held))} where it is, and the world model, whose actions are "
            "targets, has no hold_action. Give the axes' values."
        )
    low, high = read_box(model)
    still = torch.zeros_like(low).clamp(low, high)
    for edge in box[:2]:
        edge[..., held] = still[list(held)]
    return box


def _step_limit(model: WorldModel) -> Tensor:
    """Return the largest change from action to action, `[A]`, +inf where there is none.

    Raises:
        PlannerError: If it is no such thing.
    """
    low = read_box(model)[0]
    limit = getattr(model, "action_step", None)
    if limit is None:
        return torch.full_like(low, torch.inf)
    check_given("The world model's action_step", limit, "[A]")
    if limit.shape != low.shape or not bool((limit >= 0).all()):
        raise PlannerError(
            f"The world model's action_step is {limit.tolist()}; allowed are {len(low)} numbers of at least 0, +inf "
            "for no limit. Set it to what a joint may move in a step."
        )
    return limit.to(low)


def _widened(low: Tensor, high: Tensor, hold: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return bounds `[A]` or `[B, K, A]` that `hold [B, A]` is inside of."""
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


def _read_values(axis: int, values: Any) -> Values:
    if isinstance(values, str) and values == HOLD:
        return HOLD
    read = plain(values)
    numbers = tuple(map(plain, read)) if listed(read) else (read,)
    if not all(is_number(n) or (n is None and listed(read)) for n in numbers):
        raise PlannerError(
            f"fixed sets axis {axis} to {values!r}; allowed is a finite number, or one for each step (None where it is "
            "free). Change the value."
        )
    return numbers if listed(read) else numbers[0]


def _check_axis(axis: int, size: int) -> None:
    if not 0 <= axis < size:
        raise PlannerError(
            f"fixed names axis {axis}, and an action has {size} numbers, counted from 0. Name one of them."
        )


def _by_step(axis: int, values: Values, horizon: int, size: int) -> tuple[float | None, ...]:
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
            f"prefix leaves the world model's bounds on axis {', '.join(map(str, axes))}; actions under way must be "
            "ones that the model may take. Clip them, or wait until they are over."
        )


def _check_value(axis: int, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low - ROUNDING <= value <= high + ROUNDING):
        raise PlannerError(
            f"fixed sets axis {axis} to {value}; the world model's bounds there are {low:g} to {high:g}. Choose a "
            "value between them."
        )
