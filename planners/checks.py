"""What every planner checks, with one wording. Each error says what was got, what is allowed, what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Generator, Tensor

from planners.errors import PlannerError
from planners.protocols import Plan

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
    check_given("goal", goal, "[B, N, D]")
    check_generators(generators)
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


def check_generators(generators: object) -> None:
    """Check that generators are a list of them."""
    found = list(generators) if isinstance(generators, Sequence) else None
    if found is None or not all(isinstance(g, Generator) for g in found):
        kinds = type(generators).__name__
        if found is not None:
            kinds += f" of {', '.join(sorted({type(g).__name__ for g in found}))}"
        raise PlannerError(
            f"generators is a {kinds}; allowed is a list of B torch.Generator. Make it with "
            "planners.make_generators(seeds)."
        )


def check_deadline(deadline_s: float | None) -> None:
    """Check that a deadline is None or above 0."""
    if deadline_s is not None and not (is_number(deadline_s) and deadline_s > 0):
        raise PlannerError(
            f"deadline_s is {deadline_s!r}; allowed is None or a time [s] above 0. Change deadline_s."
        )


def check_warm_start(warm_start: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return a warm start as `[B, M, K, A]` if it is finite and that, or `[B, K, A]`."""
    check_given("warm_start", warm_start, "[B, K, A] or [B, M, K, A]")
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


def check_tensor(name: str, got: object, shape: str) -> Tensor:
    """Return `got` if it is a tensor of real numbers; its shape is for the caller to check."""
    if not isinstance(got, Tensor):
        raise PlannerError(
            f"{name} is a {type(got).__name__}; allowed is a tensor {shape}. Convert it with torch.as_tensor."
        )
    only_stored = got.is_floating_point() and got.element_size() < 2  # float8: nothing is computed in it
    sparse = got.layout != torch.strided or got.is_nested
    if got.dtype == torch.bool or got.is_complex() or got.is_quantized or sparse or only_stored:
        kind = f"{got.dtype}, {'nested' if got.is_nested else got.layout}" if sparse else str(got.dtype)
        raise PlannerError(
            f"{name} is a tensor of {kind}; allowed are real numbers, {shape}, in a dense tensor. Convert it to "
            "float32."
        )
    return got


def check_given(name: str, got: object, shape: str) -> Tensor:
    """Return `got` if it is a tensor of real numbers that are there: not on the meta device."""
    tensor = check_tensor(name, got, shape)
    if tensor.is_meta:
        raise PlannerError(
            f"{name} is on the meta device, where tensors hold no numbers. Move it to cpu or cuda."
        )
    return tensor


def check_rollout(predicted: object, actions: Tensor, goal: Tensor) -> Tensor:
    """Return what the model's rollout returned if it is one prediction `[N, D]` for each action, on the goal's device.

    Raises:
        PlannerError: If it is not.
    """
    got = _check_floats("The world model's rollout", predicted, "[B, S, K, N, D]")
    if got.ndim != 5 or got.shape[:3] != actions.shape[:3]:
        raise PlannerError(
            f"The world model's rollout returned shape {tuple(got.shape)} for actions of shape "
            f"{tuple(actions.shape)}; allowed is [B, S, K, N, D] with the actions' B, S and K. Make rollout "
            "return one prediction for each action."
        )
    _check_device("The world model's rollout", got, goal, "the goal")
    return got


def check_rollout_with_states(found: object, actions: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `rollout_with_states` returned if it is features and states, one of each for each action.

    Raises:
        PlannerError: If it is not.
    """
    name = "The world model's rollout_with_states"
    if not isinstance(found, tuple) or len(found) != 2:
        count = f" of {len(found)}" if isinstance(found, tuple) else ""
        raise PlannerError(
            f"{name} returned a {type(found).__name__}{count}; allowed are two tensors: features [B, S, K, N, D] and "
            "states [B, S, K, P]. Return both."
        )
    predicted, states = check_rollout(found[0], actions, goal), _check_floats(name, found[1], "[B, S, K, P]")
    if states.ndim != 4 or states.shape[:3] != actions.shape[:3]:
        raise PlannerError(
            f"{name} returned states of shape {tuple(states.shape)} for actions of shape {tuple(actions.shape)}; "
            "allowed is [B, S, K, P] with the actions' B, S and K. Return one state for each action."
        )
    _check_device(name, states, goal, "the goal")
    return predicted, states


def check_energies(energies: object, actions: Tensor) -> Tensor:
    """Return what an energy returned if it is one number for each sample, `[B, S]` for actions `[B, S, K, A]`.

    Raises:
        PlannerError: If it is not.
    """
    got = check_tensor("What the energy returned", energies, "[B, S]")
    if got.shape != actions.shape[:2]:
        raise PlannerError(
            f"The energy returned shape {tuple(got.shape)} for actions of shape {tuple(actions.shape)}"
            f"; allowed is [B, S] = {list(actions.shape[:2])}. Make it return one energy for each sample."
        )
    _check_device("The energy", got, actions, "the actions")
    return got


def check_model(model: object) -> None:
    """Check that something can imagine; its bounds are for `planners.bounds` to read."""
    if not callable(getattr(model, "rollout", None)):
        raise PlannerError(
            f"model is a {type(model).__name__}, which has no rollout; allowed is a world model with action_low, "
            "action_high, encode, encode_goal and rollout (planners.WorldModel). Pass one."
        )


def check_energy(energy: object) -> None:
    """Check that something can be called as an energy."""
    if not callable(energy) or isinstance(energy, type):
        raise PlannerError(
            f"energy is {energy!r}; allowed is what is called as energy(predicted, goal, actions), such as "
            "planners.GoalL1(). Change energy."
        )


def check_planner(owner: str, planner: object) -> None:
    """Check that something plans and can be reset."""
    if isinstance(planner, type) or not all(
        callable(getattr(planner, name, None)) for name in ("plan", "reset")
    ):
        raise PlannerError(
            f"{owner} got {planner!r}; allowed is a planner, with plan and reset, such as planners.CEM(...). Pass one."
        )


def check_plan(owner: str, plan: object, batch: int) -> None:
    """Check that a planner returned a plan for each of B problems."""
    if not isinstance(plan, Plan):
        raise PlannerError(
            f"{owner}'s planner returned a {type(plan).__name__}; allowed is a planners.Plan. Make its plan return one."
        )
    check_given(f"The actions of the plan that {owner}'s planner returned", plan.actions, "[B, K, A]")
    if plan.actions.ndim != 3 or len(plan.actions) != batch or not plan.actions.shape[1]:
        raise PlannerError(
            f"{owner}'s planner returned actions of shape {tuple(plan.actions.shape)} for {batch} problems; allowed is "
            f"[B, K, A] with B={batch} and at least one step. Make its plan return one sequence for each problem."
        )
    if not bool(torch.isfinite(plan.actions).all()):
        raise PlannerError(
            f"{owner}'s planner returned actions with NaN or infinite entries; allowed are finite ones. Check the "
            "observation, the goal and what plans."
        )
    check_given(f"The energy of the plan that {owner}'s planner returned", plan.energy, "[B]")
    if plan.energy.shape != (batch,):
        raise PlannerError(
            f"{owner}'s planner returned an energy of shape {tuple(plan.energy.shape)} for {batch} problems; allowed "
            "is [B]. Make its plan return one energy for each problem."
        )
    if plan.kept is None:
        return
    check_given(f"What the plan that {owner}'s planner returned has kept", plan.kept, "[B, M, K, A]")
    if plan.kept.ndim != 4 or (len(plan.kept), *plan.kept.shape[2:]) != tuple(plan.actions.shape):
        raise PlannerError(
            f"{owner}'s planner kept sequences of shape {tuple(plan.kept.shape)} beside actions "
            f"{tuple(plan.actions.shape)}; allowed is [B, M, K, A] of the same B, K and A, or None. Change its kept."
        )


def read_action(name: str, got: object) -> Tensor:
    """Return one finite action `[A]` as a tensor of its own, from a list, an array or a tensor.

    Raises:
        PlannerError: If it is none.
    """
    read: Tensor | None
    try:
        read = torch.as_tensor(got).detach().clone()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        read = None
    usable = read is not None and not (
        read.is_complex() or read.dtype == torch.bool or read.is_meta or read.is_nested
    )
    if read is None or not usable or read.ndim != 1 or not len(read) or not bool(torch.isfinite(read).all()):
        raise PlannerError(
            f"{name} is {plain(got)!r}; allowed is an action [A]: a list of finite numbers. Change {name}."
        )
    return read if read.is_floating_point() else read.to(torch.get_default_dtype())


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written to in place; tensors of inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version


def handed_out(tensor: Tensor) -> Tensor:
    """Return what somebody is given of a tensor that others read too: a copy, where writes into it are not counted.

    Those through NumPy are not, on a processor, nor any into a tensor of inference mode.
    """
    return tensor.clone() if tensor.device.type == "cpu" or tensor.is_inference() else tensor


def check_unwritten(who: str, versions: Mapping[str, tuple[Tensor, int]]) -> None:
    """Check that tensors, by name, still have the version that they had.

    Raises:
        PlannerError: If one was written to.
    """
    for name, (tensor, before) in versions.items():
        if version_of(tensor) != before:
            raise PlannerError(
                f"{who} wrote into the {name} that it was given, which others are given too; allowed is to read it. "
                "Work on a copy (.clone()), or without the operations whose names end in an underscore."
            )


def _check_floats(name: str, got: object, shape: str) -> Tensor:
    tensor = check_tensor(f"What {name[0].lower()}{name[1:]} returned", got, shape)
    if not tensor.is_floating_point():
        raise PlannerError(
            f"{name} returned a tensor of {tensor.dtype}; allowed are floating-point numbers, {shape}. Convert it with "
            ".float()."
        )
    return tensor


def _check_device(name: str, got: Tensor, like: Tensor, other: str) -> None:
    if got.device != like.device:
        raise PlannerError(
            f"{name} returned a tensor on {got.device}, and {other} is on {like.device}; allowed is one device. Move "
            "the model, its bounds and the goal to the same one."
        )
