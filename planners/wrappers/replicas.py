"""Copies of one world model on several devices, which share the samples. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from planners.bounds import read_bounds
from planners.checks import check_model
from planners.errors import PlannerError
from planners.protocols import (
    ActionType,
    Context,
    Energy,
    HoldingWorldModel,
    SlicedWorldModel,
    WorldModel,
    action_type,
    model_for_context,
)
from planners.scoring import imagined_energies


class Replicas:
    """Copies of a world model, one on each device, that run in parallel; a world model itself.

    Each copy gets an equal share of the samples and computes their energies on its device, so that only actions and
    energies are transferred. Plans are on the device of the first copy. Each copy runs in its own thread, because
    compiled CUDA graphs belong to the thread that made them. The threads end with `close`, or with the object or the
    process.

    Args:
        models: The copies, each on its device. Their weights must be equal.

    Raises:
        PlannerError: If there is no model, one is not a world model, or their action bounds differ.
    """

    def __init__(self, models: Sequence[WorldModel]) -> None:
        for model in models:
            check_model(model)
        bounds = [tuple(bound.tolist() for bound in read_bounds(model)) for model in models]
        if not models or any(bound != bounds[0] for bound in bounds):
            raise PlannerError(
                f"Replicas got {len(models)} world models with the bounds {bounds}; allowed are copies of one world "
                "model, at least one. Load the same checkpoint on each device."
            )
        self.models = tuple(models)
        self._threads = _threads(len(models))

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the number of threads in place of the threads: a copy has its own."""
        return vars(self) | {"_threads": len(self._threads)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._threads = _threads(state["_threads"])

    def for_context(self, context: Context) -> WorldModel:
        """Return the copies for the robot of a context, with the same threads."""
        copies = object.__new__(Replicas)
        vars(copies).update(vars(self))
        pairs = zip(self.models, self._checked(context), strict=True)
        copies.models = tuple(model_for_context(model, part) for model, part in pairs)
        return copies

    @property
    def action_low(self) -> Tensor:
        """Lowest allowed action, `[A]`, on the first device."""
        return self.models[0].action_low

    @property
    def action_high(self) -> Tensor:
        """Highest allowed action, `[A]`."""
        return self.models[0].action_high

    @property
    def action_type(self) -> ActionType | None:
        """The meaning of the copies' actions."""
        return action_type(self.models[0])

    @property
    def action_step(self) -> Tensor | None:
        """Largest change from one action to the next, `[A]`, if the copies have one."""
        first = self.models[0]
        return first.action_step if isinstance(first, HoldingWorldModel) else None

    def hold_action(self, context: Context) -> Tensor | None:
        """Return the actions that keep the robots where they are, `[B, A]`, if the copies know them."""
        first = self.models[0]
        return first.hold_action(self._checked(context)[0]) if isinstance(first, HoldingWorldModel) else None

    def encode(self, frames: Tensor, states: Tensor | None, *further: Any, **named: Any) -> Context:
        """Encode observations, uint8 `[B, T, C, H, W]` and states `[B, T, P]`, on every device.

        `further` and `named` arguments are passed to the `encode` of every copy.
        """
        return [model.encode(frames, states, *further, **named) for model in self.models]

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images, uint8 `[B, C, H, W]`, to features `[B, N, D]` on the first device."""
        return self.models[0].encode_goal(frames)

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Return the predictions `[B, S, K, N, D]` for actions `[B, S, K, A]`, on the first device."""

        def predict(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            return model.rollout(context, part)

        return self._distribute(predict, context, actions)

    def rollout_energies(self, energy: Energy, context: Context, goal: Tensor, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, K, A]`, computed on all devices."""

        def energies(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            return imagined_energies(model, energy, context, goal.to(part.device), part)

        return self._distribute(energies, context, actions)

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return the number of samples of one call: shares are equal, so the smallest limit decides."""
        best = [
            model.samples_at_once(part, horizon)
            for model, part in zip(self.models, self._checked(context), strict=True)
            if isinstance(model, SlicedWorldModel)
        ]
        return len(self.models) * min(best, default=2**62)

    def close(self) -> None:
        """End the threads; no prediction is possible afterwards."""
        for thread in self._threads:
            thread.shutdown()
        self._threads = []

    def __enter__(self) -> Replicas:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, context: Context) -> Sequence[Context]:
        """Return a context if it is a list of one context for each copy."""
        if not isinstance(context, list) or len(context) != len(self.models):
            raise PlannerError(
                f"Replicas got a context of type {type(context).__name__} for {len(self.models)} copies; allowed is "
                "the return value of their own encode. Encode with the Replicas."
            )
        return context

    def _distribute(
        self, work: Callable[[WorldModel, Context, Tensor], Tensor], context: Context, actions: Tensor
    ) -> Tensor:
        if not self._threads:
            raise PlannerError("Replicas were used after close(), which ended their threads. Make new ones.")
        graph = torch.is_grad_enabled()

        def run(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            with torch.set_grad_enabled(graph):  # gradient mode is set for each thread
                return work(model, context, part.to(model.action_low.device)).to(actions.device)

        parts = [p for p in actions.tensor_split(len(self.models), dim=1) if p.shape[1]]
        workers = zip(self._threads, self.models, self._checked(context), strict=True)
        running = [
            thread.submit(run, model, own_context, part)
            for (thread, model, own_context), part in zip(workers, parts, strict=False)
        ]
        wait_for(running)  # for all, so that no copy is running after an error
        return torch.cat([each.result() for each in running], dim=1)


def _threads(count: int) -> list[ThreadPoolExecutor]:
    return [ThreadPoolExecutor(1, thread_name_prefix=f"replica{i}") for i in range(count)]
