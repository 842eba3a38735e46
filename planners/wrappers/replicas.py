"""One world model on several devices: samples are shared out among them. Shapes as in `planners.protocols`."""

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
    """Copies of a world model, one a device, that imagine side by side; a world model itself.

    Each is given an even share of the samples and scores it on its device, so that only actions go out and energies
    come back. Plans live on the first one's device. A copy imagines in a thread of its own, always the same one, since
    compiled CUDA graphs belong to the thread that made them. The threads end with `close`, and with the object or the
    process if it was not called.

    Args:
        models: The copies, each on its device. Their weights must be the same.

    Raises:
        PlannerError: If there is none, one is no world model, or their bounds differ.
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
        """Threads are no state: a copy has its own, or none where this one is closed."""
        return vars(self) | {"_threads": len(self._threads)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._threads = _threads(state["_threads"])

    def for_context(self, context: Context) -> WorldModel:
        """Return these copies as each is for its context, with the same threads."""
        copies = object.__new__(Replicas)
        vars(copies).update(vars(self))
        pairs = zip(self.models, self._checked(context), strict=True)
        copies.models = tuple(model_for_context(model, place) for model, place in pairs)
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
        """What the copies' actions are."""
        return action_type(self.models[0])

    @property
    def action_step(self) -> Tensor | None:
        """Largest change from one action to the next, `[A]`, where the copies have one."""
        first = self.models[0]
        return first.action_step if isinstance(first, HoldingWorldModel) else None

    def hold_action(self, context: Context) -> Tensor | None:
        """Return the actions that leave the robots where they are, `[B, A]`, where the copies know them."""
        first = self.models[0]
        return first.hold_action(self._checked(context)[0]) if isinstance(first, HoldingWorldModel) else None

    def encode(self, frames: Tensor, states: Tensor | None, *further: Any, **named: Any) -> Context:
        """Encode what was seen on every device; `further` and `named` arguments go to every copy's `encode` as well."""
        return [model.encode(frames, states, *further, **named) for model in self.models]

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images on the first device."""
        return self.models[0].encode_goal(frames)

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Imagine on all devices, and bring the predictions `[B, S, K, N, D]` to the first."""

        def imagine(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            return model.rollout(context, part)

        return self._shared_out(imagine, context, actions)

    def rollout_energies(self, energy: Energy, context: Context, goal: Tensor, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, K, A]`, scored on all devices."""

        def energies(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            return imagined_energies(model, energy, context, goal.to(part.device), part)

        return self._shared_out(energies, context, actions)

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return how many samples all devices together imagine at once: shares are even, so the smallest decides."""
        best = [
            model.samples_at_once(place, horizon)
            for model, place in zip(self.models, self._checked(context), strict=True)
            if isinstance(model, SlicedWorldModel)
        ]
        return len(self.models) * min(best, default=2**62)

    def close(self) -> None:
        """End the threads; nothing can be imagined any more."""
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
        """Return a context if it is one for each copy."""
        if not isinstance(context, list) or len(context) != len(self.models):
            raise PlannerError(
                f"Replicas got a context of type {type(context).__name__} for {len(self.models)} copies; allowed is "
                "what their own encode returned. Encode with the Replicas."
            )
        return context

    def _shared_out(
        self, work: Callable[[WorldModel, Context, Tensor], Tensor], context: Context, actions: Tensor
    ) -> Tensor:
        if not self._threads:
            raise PlannerError(
                "Replicas were asked to imagine after close(), which ended their threads. Make them anew."
            )
        graph = torch.is_grad_enabled()

        def run(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            with torch.set_grad_enabled(graph):  # a thread begins with its own mode
                return work(model, context, part.to(model.action_low.device)).to(actions.device)

        parts = [p for p in actions.tensor_split(len(self.models), dim=1) if p.shape[1]]
        places = zip(self._threads, self.models, self._checked(context), strict=True)
        running = [
            thread.submit(run, model, place, part)
            for (thread, model, place), part in zip(places, parts, strict=False)
        ]
        wait_for(running)  # all of them, so that an error leaves no copy at work
        return torch.cat([each.result() for each in running], dim=1)


def _threads(count: int) -> list[ThreadPoolExecutor]:
    return [ThreadPoolExecutor(1, thread_name_prefix=f"replica{i}") for i in range(count)]
