"""Checks of tensors, models, energies and plans. Each error says what was got, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from planners.errors import PlannerError
from planners.number_checks import is_number, to_python
from planners.protocols import Plan


def check_problems(goal: Tensor, generators: Sequence[Generator], deadline_s: float | None) -> None:
    """Check that the goals are `[B, N, D]` and that each problem has a generator of its own."""
    check_data("goal", goal, "[B, N, D]")
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
    """Check that `generators` is a sequence of `torch.Generator`."""
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
    """Return a finite warm start `[B, K, A]` or `[B, M, K, A]` as `[B, M, K, A]`; `shape` is (B, K, A)."""
    check_data("warm_start", warm_start, "[B, K, A] or [B, M, K, A]")
    starts = warm_start.unsqueeze(1) if warm_start.ndim == 3 else warm_start
    if starts.ndim != 4 or (len(starts), *starts.shape[2:]) != shape or not starts.shape[1]:
        raise PlannerError(
            f"warm_start has shape {tuple(warm_start.shape)}; allowed is [B, K, A] = {list(shape)}, or [B, M, K, A] "
            "with M sequences per problem. Pass the actions of an earlier plan of the same planner and batch."
        )
    if not bool(torch.isfinite(warm_start).all()):
        raise PlannerError(
            "warm_start has NaN or infinite entries; allowed are finite actions. Pass none instead."
        )
    return starts


def check_tensor(name: str, got: object, shape: str) -> Tensor:
    """Return `got`, of any shape, if it is a dense tensor of real numbers; the text `shape` is for the error only."""
    if not isinstance(got, Tensor):
        raise PlannerError(
            f"{name} is a {type(got).__name__}; allowed is a tensor {shape}. Convert it with torch.as_tensor."
        )
    only_stored = got.is_floating_point() and got.element_size() < 2  # float8: there is no arithmetic in it
    sparse = got.layout != torch.strided or got.is_nested
    if got.dtype == torch.bool or got.is_complex() or got.is_quantized or sparse or only_stored:
        kind = f"{got.dtype}, {'nested' if got.is_nested else got.layout}" if sparse else str(got.dtype)
        raise PlannerError(
            f"{name} is a tensor of {kind}; allowed are real numbers, {shape}, in a dense tensor. Convert it to "
            "float32."
        )
    return got


def check_data(name: str, got: object, shape: str) -> Tensor:
    """Return `got`, of any shape, if it is a dense tensor of real numbers that has data (not on the meta device)."""
    tensor = check_tensor(name, got, shape)
    if tensor.is_meta:
        raise PlannerError(
            f"{name} is on the meta device, where tensors hold no numbers. Move it to cpu or cuda."
        )
    return tensor


def check_rollout(predicted: object, actions: Tensor, goal: Tensor) -> Tensor:
    """Return the predictions of the model's rollout if they are `[B, S, K, N, D]` for actions `[B, S, K, A]`.

    Raises:
        PlannerError: If they are not, or not on the device of `goal`.
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
    """Return features `[B, S, K, N, D]` and states `[B, S, K, P]` if `rollout_with_states` returned such a pair.

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
    """Check that an object has a `rollout`. Its action bounds are checked by `planners.bounds`."""
    if not callable(getattr(model, "rollout", None)):
        raise PlannerError(
            f"model is a {type(model).__name__}, which has no rollout; allowed is a world model with action_low, "
            "action_high, encode, encode_goal and rollout (planners.WorldModel). Pass one."
        )


def check_energy(energy: object) -> None:
    """Check that an object can be called as an energy."""
    if not callable(energy) or isinstance(energy, type):
        raise PlannerError(
            f"energy is {energy!r}; allowed is what is called as energy(predicted, goal, actions), such as "
            "planners.GoalL1(). Change energy."
        )


def check_planner(owner: str, planner: object) -> None:
    """Check that an object has `plan` and `reset`. `owner` is the class that was given it, for the error."""
    if isinstance(planner, type) or not all(
        callable(getattr(planner, name, None)) for name in ("plan", "reset")
    ):
        raise PlannerError(
            f"{owner} got {planner!r}; allowed is a planner, with plan and reset, such as planners.CEM(...). Pass one."
        )


def check_plan(owner: str, plan: object, batch: int) -> None:
    """Check that a planner returned a plan for each of `batch` problems. `owner` is the class that called it."""
    if not isinstance(plan, Plan):
        raise PlannerError(
            f"{owner}'s planner returned a {type(plan).__name__}; allowed is a planners.Plan. Make its plan return one."
        )
    check_data(f"The actions of the plan that {owner}'s planner returned", plan.actions, "[B, K, A]")
    if plan.actions.ndim != 3 or len(plan.actions) != batch or not plan.actions.shape[1]:
        raise PlannerError(
            f"{owner}'s planner returned actions of shape {tuple(plan.actions.shape)} for {batch} problems; allowed is "
            f"[B, K, A] with B={batch} and at least one step. Make its plan return one sequence for each problem."
        )
    if not bool(torch.isfinite(plan.actions).all()):
        raise PlannerError(
            f"{owner}'s planner returned actions with NaN or infinite entries; allowed are finite ones. Check the "
            "observation, the goal and the planner."
        )
    check_data(f"The energy of the plan that {owner}'s planner returned", plan.energy, "[B]")
    if plan.energy.shape != (batch,):
        raise PlannerError(
            f"{owner}'s planner returned an energy of shape {tuple(plan.energy.shape)} for {batch} problems; allowed "
            "is [B]. Make its plan return one energy for each problem."
        )
    if plan.warm_starts is None:
        return
    check_data(
        f"The warm_starts of the plan that {owner}'s planner returned", plan.warm_starts, "[B, M, K, A]"
    )
    if plan.warm_starts.ndim != 4 or (len(plan.warm_starts), *plan.warm_starts.shape[2:]) != tuple(
        plan.actions.shape
    ):
        raise PlannerError(
            f"{owner}'s planner returned warm_starts of shape {tuple(plan.warm_starts.shape)} with actions of shape "
            f"{tuple(plan.actions.shape)}; allowed is [B, M, K, A] of the same B, K and A, or None. Change "
            "its warm_starts."
        )


def read_action(name: str, got: object) -> Tensor:
    """Return one finite action `[A]` as a new tensor, from a list, an array or a tensor.

    Raises:
        PlannerError: If it is not one.
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
            f"{name} is {to_python(got)!r}; allowed is an action [A]: a list of finite numbers. Change {name}."
        )
    return read if read.is_floating_point() else read.to(torch.get_default_dtype())


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor (any shape) was modified in place; 0 in inference mode, where this is not counted."""
    return 0 if tensor.is_inference() else tensor._version


def protected_view(tensor: Tensor) -> Tensor:
    """Return a shared tensor (any shape) in a form in which modifications are detected or harmless.

    A copy if modifications are not counted: through NumPy on a CPU, and in inference mode. Else the tensor itself.
    """
    return tensor.clone() if tensor.device.type == "cpu" or tensor.is_inference() else tensor


def check_not_modified(who: str, versions: Mapping[str, tuple[Tensor, int]]) -> None:
    """Check that shared tensors (any shapes) were not modified.

    Args:
        who: The object that was given the tensors, for the error.
        versions: Name to tensor and its version before.

    Raises:
        PlannerError: If one was modified.
    """
    for name, (tensor, before) in versions.items():
        if version_of(tensor) != before:
            raise PlannerError(
                f"{who} wrote into the {name} that it was given, which others use too; allowed is to read it. "
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
