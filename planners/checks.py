"""What every planner checks, with one wording. Each error says what was got, what is allowed, what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from planners.errors import PlannerError

Choice = TypeVar("Choice", bound=str)


def is_number(got: object) -> bool:
    """Return whether something is a real number: of Python or NumPy, no bool, no tensor."""
    return isinstance(got, Real) and not isinstance(got, bool)


def plain(got: Any) -> Any:
    """Return a tensor or an array as Python's numbers, in lists where it has axes; anything else as it is."""
    return got.tolist() if isinstance(got, Tensor | np.ndarray | np.generic) else got


def listed(got: object) -> bool:
    """Return whether something is a list, a tuple or the like, and no text."""
    return isinstance(got, Sequence) and not isinstance(got, str | bytes)


def check_count(name: str, got: int, *, most: int | None = None, most_name: str = "") -> int:
    """Return `got` if it is a whole number from 1 to `most`."""
    allowed = "a whole number of at least 1" + (
        f" and at most {most_name}={most}" if most is not None else ""
    )
    if isinstance(got, bool) or not isinstance(got, int) or got < 1 or (most is not None and got > most):
        raise PlannerError(f"{name} is {got!r}; allowed is {allowed}. Change {name}.")
    return got


def check_fraction(
    name: str, got: float | Sequence[float] | Tensor | np.ndarray, action_size: int
) -> tuple[float, ...]:
    """Return one share in [0, 1] for each action axis, from a number or `action_size` numbers."""
    read = plain(got)
    numbers = tuple(map(plain, read)) if listed(read) else (read,) * action_size
    if len(numbers) != action_size or not all(is_number(n) and 0.0 <= n <= 1.0 for n in numbers):
        raise PlannerError(
            f"{name} is {got!r}; allowed is a number in [0, 1], or one for each of the model's {action_size} "
            f"action axes. Change {name}."
        )
    return numbers


def check_positive(name: str, got: float) -> float:
    """Return `got` if it is finite and above 0."""
    if not (is_number(got) and math.isfinite(got) and got > 0):
        raise PlannerError(f"{name} is {got!r}; allowed is a finite number above 0. Change {name}.")
    return got


def check_at_least(name: str, got: float, least: float) -> float:
    """Return `got` if it is finite and at least `least`."""
    if not (is_number(got) and math.isfinite(got) and got >= least):
        raise PlannerError(
            f"{name} is {got!r}; allowed is a finite number of at least {least:g}. Change {name}."
        )
    return got


def check_share(name: str, got: float) -> float:
    """Return `got` if it is above 0 and at most 1."""
    if not (is_number(got) and 0 < got <= 1):
        raise PlannerError(f"{name} is {got!r}; allowed is a number above 0 and at most 1. Change {name}.")
    return got


def check_choice(name: str, got: Choice, allowed: Sequence[Choice]) -> Choice:
    """Return `got` if it is one of `allowed`."""
    if not isinstance(got, str) or got not in allowed:
        raise PlannerError(
            f"{name} is {got!r}; allowed are {', '.join(map(repr, allowed))}. Choose one of them."
        )
    return got


def check_problems(goal: Tensor, generators: Sequence[Generator], deadline_s: float | None) -> None:
    """Check that there is one goal and one generator of its own for each problem."""
    check_tensor("goal", goal, "[B, N, D]")
    if goal.ndim != 3 or len(goal) != len(generators) or not generators:
        raise PlannerError(
            f"plan got goals of shape {tuple(goal.shape)} and {len(generators)} generators; allowed are "
            "[B, N, D] and B generators, B at least 1. Pass one goal and one generator for each problem."
        )
    if len({id(g) for g in generators}) != len(generators):
        raise PlannerError(
            f"plan got {len(generators)} generators of which some are the same object; each problem needs "
            "its own, or its result would depend on the batch. Make them with planners.make_generators(seeds)."
        )
    check_deadline(deadline_s)


def check_deadline(deadline_s: float | None) -> None:
    """Check that a deadline is None or above 0."""
    if deadline_s is not None and not (is_number(deadline_s) and deadline_s > 0):
        raise PlannerError(
            f"deadline_s is {deadline_s!r}; allowed is None or a time [s] above 0. Change deadline_s."
        )


def check_warm_start(warm_start: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return a warm start as `[B, M, K, A]` if it is finite and that, or `[B, K, A]`."""
    check_tensor("warm_start", warm_start, "[B, K, A] or [B, M, K, A]")
    several = warm_start.unsqueeze(1) if warm_start.ndim == 3 else warm_start
    if several.ndim != 4 or (len(several), *several.shape[2:]) != shape or not several.shape[1]:
        raise PlannerError(
            f"warm_start has shape {tuple(warm_start.shape)}; allowed is [B, K, A] = {list(shape)}, or [B, M, K, A] "
            "with M sequences a problem. Pass the actions of an earlier plan of the same planner and batch."
        )
    if not bool(torch.isfinite(warm_start).all()):
        raise PlannerError(
            "warm_start has NaN or infinite entries; allowed are finite actions. Pass none instead."
        )
    return several


def check_tensor(name: str, got: object, shape: str) -> None:
    """Check that something is a tensor at all."""
    if not isinstance(got, Tensor):
        raise PlannerError(
            f"{name} is a {type(got).__name__}; allowed is a tensor {shape}. Convert it with torch.as_tensor."
        )


def check_rollout(predicted: Tensor, actions: Tensor) -> None:
    """Check that the model returned one prediction `[N, D]` for each action."""
    if predicted.ndim != 5 or predicted.shape[:3] != actions.shape[:3]:
        raise PlannerError(
            f"The world model's rollout returned shape {tuple(predicted.shape)} for actions of shape "
            f"{tuple(actions.shape)}; allowed is [B, S, K, N, D] with the actions' B, S and K. Make rollout "
            "return one prediction for each action."
        )


def check_energy(energy: Tensor, actions: Tensor) -> None:
    """Check that the objective returned one energy for each sample."""
    if energy.shape != actions.shape[:2]:
        raise PlannerError(
            f"The objective returned shape {tuple(energy.shape)} for actions of shape {tuple(actions.shape)}"
            f"; allowed is [B, S] = {list(actions.shape[:2])}. Make it return one energy for each sample."
        )
