"""One world model on several devices: samples are shared out among them. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from planners.errors import PlannerError
from planners.protocols import Context, Objective, SlicedWorldModel, WorldModel
from planners.scoring import imagined_energy


class Replicas:
    """Copies of a world model, one a device, that imagine side by side; a world model itself.

    Each is given an even share of the samples and judges it where it lies, so that only actions go out and energies
    come back. Plans live on the first one's device.

    Args:
        models: The copies, each on its device. Their weights must be the same.

    Raises:
        PlannerError: If there is none, or their bounds differ.
    """

    def __init__(self, models: Sequence[WorldModel]) -> None:
        bounds = [(m.action_low.tolist(), m.action_high.tolist()) for m in models]
        if not models or any(bound != bounds[0] for bound in bounds):
            raise PlannerError(
                f"Replicas got {len(models)} world models with the bounds {bounds}; allowed are copies of one world "
                "model, at least one. Load the same checkpoint on each device."
            )
        self.models = tuple(models)
        self._threads = ThreadPoolExecutor(len(models), thread_name_prefix="replica")

    @property
    def action_low(self) -> Tensor:
        """Lowest allowed action, `[A]`, on the first device."""
        return self.models[0].action_low

    @property
    def action_high(self) -> Tensor:
        """Highest allowed action, `[A]`."""
        return self.models[0].action_high

    def encode(self, frames: Tensor, states: Tensor | None) -> Context:
        """Encode what was seen on every device."""
        return [model.encode(frames, states) for model in self.models]

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images on the first device."""
        return self.models[0].encode_goal(frames)

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Imagine on all devices, and bring the predictions `[B, S, K, N, D]` to the first."""

        def imagine(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            return model.rollout(context, part)

        return self._shared_out(imagine, context, actions)

    def energy(self, objective: Objective, context: Context, goal: Tensor, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, K, A]`, imagined and judged on all devices."""

        def judge(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            return imagined_energy(model, objective, context, goal.to(part.device), part)

        return self._shared_out(judge, context, actions)

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return how many samples all devices together imagine at once."""
        best = [
            m.samples_at_once(c, horizon)
            for m, c in zip(self.models, context, strict=True)
            if isinstance(m, SlicedWorldModel)
        ]
        return sum(best) if len(best) == len(self.models) else 2**62

    def _shared_out(
        self, work: Callable[[WorldModel, Context, Tensor], Tensor], context: Context, actions: Tensor
    ) -> Tensor:
        graph = torch.is_grad_enabled()

        def run(model: WorldModel, context: Context, part: Tensor) -> Tensor:
            with torch.set_grad_enabled(graph):  # a thread begins with its own mode
                return work(model, context, part.to(model.action_low.device)).to(actions.device)

        parts = [p for p in actions.tensor_split(len(self.models), dim=1) if p.shape[1]]
        places = zip(self.models, context, strict=True)
        running = [
            self._threads.submit(run, *place, part) for place, part in zip(places, parts, strict=False)
        ]
        return torch.cat([each.result() for each in running], dim=1)
